//! Windu turns a phone number on a messaging network into a REST API.
//!
//! In front is the HTTP API; behind it, one supervised task per registered account keeps a session to its upstream
//! network; between them is PostgreSQL, the only truth. Any number of processes may share one database: every process
//! serves every request, and leases spread the sessions among them.
//!
//! # The map
//!
//! ```text
//! main → cli → app → http → { oauth, sessions, verification, media, maintenance } → { store, upstream } → domain
//!                    leaves, usable by all above domain: config, clock, secrets, fetch, telemetry, lifecycle
//! ```
//!
//! * [`domain`]: the words of the program as types, without I/O.
//! * [`store`]: the only SQL. `store::wake` carries wake-ups between processes, `store::cluster` is the private
//!   PostgreSQL for whoever brings none, `store::localnet` keeps the network inside this program.
//! * [`upstream`]: what a messaging network must be able to do ([`upstream::Connector`], [`upstream::Connection`]),
//!   and `upstream::local`, the network inside this program.
//! * [`sessions`]: the supervisor, the leases and the session of each account.
//! * [`media`]: stored files: uploads on their way, what they are and what is taken out of them, the storage, the
//!   URLs that open them.
//! * [`verification`]: the codes that prove a number.  [`oauth`]: tokens, users, clients.
//! * [`http`]: all of axum; one file per resource.  [`app`]: what is made, and in which order it starts and stops.
//!
//! `tests/architecture.rs` holds the arrows.
//!
//! # One message, end to end
//!
//! 1. `POST /api/messages/send-message/` arrives. `http::server` reads its head within 10 s, `http::paths` gives the
//!    path its one spelling, [`http::auth`] looks up the token, and only then [`http::params`] reads the body.
//! 2. The handler in `http::messages` takes the caller's own account (an extractor that cannot be forgotten), checks
//!    that the receiver may be written to, and calls [`store::Store::accept_send`]: one statement, shared with all that
//!    is sent at that moment (`store::group_commit`), checks that once more and writes the message with the id that the
//!    network will see, the outbox row, the chat and the journal entry `message.queued`. The answer follows the commit:
//!    from here on nothing makes the message vanish.
//! 3. A wake-up reaches the account's session, in whichever process it runs; a sweep finds the work if the wake-up is
//!    lost. `sessions::dispatch` hands what is due to the [`upstream::Connection`], in order per chat, and stores what
//!    became of it under the session's lease: `message.sent`, a later attempt under the same id, or `message.failed`.
//! 4. The network `local` puts the message into the receiver's mailbox. The receiver's connection tells its session,
//!    `sessions::ingest` stores it in one transaction (a twin is a no-op) with the journal entry `message.received`,
//!    and only then is it acknowledged: the mailbox forgets it, and the sender is told that it was delivered.
//! 5. The receiver lists it with `GET /api/messages/chats/N/`, and `update-last-read` sends the read receipt back the
//!    same way.
//!
//! A file goes another way beside the message: `http::params` spools it while it arrives, [`media`] looks into it, cleans
//! and stores it under its hash, and the message refers to it. The network keeps it under a reference; the receiver's
//! session stores the message first and then fetches the file (`sessions::files`, `message.media`).
//!
//! # Rules that everything keeps
//!
//! * Event numbers and stored times of a number come from its one locked counter row ([`store::Journal`]), taken after
//!   chat rows and before account rows; there are no gaps, and time never runs backwards.
//! * The counter row also holds the lease. Every write of a session locks it with owner and fence, so a process that
//!   lost its lease changes nothing.
//! * A group is kept once, whoever of its members is here (`store::group`): what a network tells of it is written by its
//!   revision, in a transaction that locks the group's row and no other. What an account was told of it is in its chat.
//! * What is asked at the same moment shares a round trip (`store::gather`), what is written a transaction. A shared
//!   transaction takes only locks that are free, so that a held account holds up nobody else.
//! * What a process remembers is 5 s old at most and decides about nothing that is written: a send looks again.
//! * No foreign key leads from a message to its chat or from an event to its counter: whoever writes one holds the lock
//!   on the other, and triggers delete them together.
//! * NOTIFY is sent after the commit, never in the transaction; whoever waits registers first and reads after.
//! * No transaction is open while the network is awaited. One is open while a stored file is deleted, for 5 s at most: the
//!   row's lock keeps the same file from coming again meanwhile.
//! * A table that refers to a stored file has a foreign key to it and is part of the view `media_reference`, where the
//!   clean-up looks.
//! * A POST with an `Idempotency-Key` runs under a claim that is committed first and ends with its process's heartbeat
//!   (`http::idempotency`). Effect and answer are committed together; what it asks of a session is a command that a
//!   repeat goes on with.
//!
//! # Differs from the design
//!
//! * The lease (owner, fence) is in `account_counter`, not in `account`: every write of a session locks that row
//!   anyway, so the fence costs no statement of its own and cannot race.
//! * The counter row is locked after chats and before all other rows of an account, not last: the times that it gives
//!   are written into them.
//! * A delivered receipt needs no queue of its own on a network that tells again what was not acknowledged
//!   ([`upstream::Capabilities::tells_again`]): acknowledging includes it.
//! * Who wants to be seen as online is shown so on the network `local` while no session of theirs runs, too: the presence
//!   is what the user asked for.
//! * A group's members are kept once per deployment, not once per account that is in it: of 1,024 who are told of a change
//!   one writes it.
//! * A blocked person's messages are dropped by the network where it can, and in any case when they are stored; a network
//!   is asked to discard them, without a receipt ([`upstream::Connection::discard`]).
//! * `build.rs` is in `migrations/`, to keep the top level as it is.
//! * Merged peers are not yet among [`upstream::Event`]: they come with the tables they need.

pub mod app;
pub mod cli;
pub mod clock;
pub mod config;
pub mod db;
pub mod domain;
pub mod fetch;
pub mod http;
pub mod lifecycle;
pub mod maintenance;
pub mod media;
pub mod oauth;
pub mod secrets;
pub mod sessions;
pub mod store;
pub mod telemetry;
pub mod upstream;
pub mod verification;
