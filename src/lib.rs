//! Windu turns a phone number on a messaging network into a REST API.
//!
//! In front is the HTTP API; behind it, one supervised task per registered account keeps a session to its upstream
//! network; between them is PostgreSQL, the only truth. Any number of processes may share one database: every process
//! serves every request, and leases spread the sessions among them.
//!
//! # The map
//!
//! ```text
//! main → cli → app → http → { oauth, sessions, events, webhooks, media, verification, maintenance, backup } → { store, upstream } → { db, domain }
//!                    leaves, usable by all above domain: config, clock, secrets, fair_share, fetch, metrics, telemetry, lifecycle
//! ```
//!
//! * [`domain`]: the words of the program as types, without I/O.
//! * [`db`]: PostgreSQL without a word of the product: pool, transactions, batchers, cached connections, notifications,
//!   schema, and the private cluster of a deployment without a server of its own.
//! * [`store`]: the product's queries, in folders by entity. `store::writer` is the hot path: what the API sends and what
//!   sessions store, of many accounts in one transaction.
//! * [`upstream`]: what a messaging network must be able to do ([`upstream::Connector`], [`upstream::Connection`]), and
//!   `upstream::local`, a network inside this program with tables of its own, and `upstream::xmpp`, the accounts of an
//!   XMPP server.
//! * [`sessions`]: the supervisor, the leases, the session of each account, and the commands that the API asks of one.
//! * [`events`]: the sequence of a user's events over all accounts, the events as clients see them, and `events::broker`, which
//!   publishes them to NATS.
//! * [`webhooks`]: the events of a user, posted to URLs until they are accepted.
//! * [`media`]: stored files: uploads, what they are and what is removed from them, the storage, signed URLs.
//! * [`verification`]: the codes that prove a number.  [`oauth`]: tokens, users, clients.
//! * [`backup`]: a whole deployment in one file, and back.  [`metrics`]: the figures of this process for Prometheus.
//! * [`http`]: all of axum. `server` accepts connections, `middleware` surrounds the endpoints, `extract` has the arguments
//!   of handlers, `error` the error codes, `api` the endpoints in folders by resource.
//! * [`app`]: what is made, and in which order it starts and stops.
//!
//! `tests/architecture.rs` holds the arrows.
//!
//! # Words
//!
//! | word | means |
//! | --- | --- |
//! | user | a login of this server, owner of accounts |
//! | account | one phone number of a user on one upstream network |
//! | endpoint | a method and path of the API; a *row* is in a table of PostgreSQL and nowhere else |
//! | upstream network | where messages go: `local`, `xmpp` |
//! | connector | the trait of a network, one per process; an adapter implements it |
//! | connection | one life of the socket of one account |
//! | session | the supervised task that keeps one account connected; never an OAuth or TLS session |
//! | lease, fence | the right to run an account's session, held by one process; the number that makes an old holder's writes fail |
//! | command | what the API asks a session to do and waits for |
//! | upstream event | what a network reports to a connection |
//! | event | what clients can read of an account, numbered without gaps |
//! | journal | the stored events of a number |
//! | sequence | the events of all numbers of a user; a place in it is a cursor |
//! | webhook | a URL that events are posted to; its receiver is the server behind it |
//! | redelivery | an event that is sent beside the new ones: set aside, because the receiver refused it again and again, or a replay |
//! | peer | a person or a group on a network, by address |
//! | directory | the peers that an account can name: those of its network, or its own where the network shows each account other people |
//! | chat | the conversation of an account with a peer |
//! | receipt | delivered or read, of one message by one person |
//! | outbox | messages accepted from the API that the network has not taken yet |
//! | remote id | the id that a network chose for a message of ours; clients see ours |
//! | early event | what names a message by a remote id that no message has yet |
//! | inbound, outbound | from the network, to the network |
//! | batcher, batch | requests that share one round trip to PostgreSQL |
//! | connection cache | database connections kept between statements |
//! | timeout, deadline | a duration; the moment when a request is given up |
//! | duplicate | the same message reported twice |
//! | untrusted | supplied by a caller: URLs, files, names |
//! | client, grant, scope, token | OAuth only |
//!
//! # One message, end to end
//!
//! 1. `POST /api/messages/send-message/` arrives. `http::server` reads its head within 10 s, `middleware::paths` normalises
//!    the path, `extract::caller` looks up the token, and only then `extract::params` reads the body.
//! 2. The handler in `http::api::messages` takes the caller's own account (an extractor that cannot be forgotten), checks
//!    that the recipient may be written to, and calls [`store::Store::accept_send`]: one call of the function `accept_1`,
//!    shared with all messages that are sent at that moment, checks that once more and writes the message with the id that
//!    the network will see, the outbox row, the chat and the journal entry `message.queued`. The answer follows the commit:
//!    from here on nothing makes the message vanish.
//! 3. A notification reaches the account's session, in whichever process it runs; a sweep finds the work if the notification
//!    is lost. `sessions::dispatch` hands what is due to the [`upstream::Connection`], in order per chat, and stores the
//!    outcome under the session's lease: `message.sent`, a later attempt under the same id, or `message.failed`.
//! 4. The network `local` puts the message into the receiver's mailbox. The receiver's connection reports it to its session,
//!    `sessions::ingest` stores it in one transaction (the function `ingest_1`; a duplicate is a no-op) with the journal
//!    entry `message.received`, and only then is it acknowledged: the mailbox forgets it, and the sender gets the delivered
//!    receipt.
//! 5. The receiver lists it with `GET /api/messages/chats/N/`, and `update-last-read` sends the read receipt back the
//!    same way.
//!
//! A file goes another way beside the message: `extract::params` spools it while it arrives, [`media`] inspects, cleans and
//! stores it under its hash, and the message refers to it. The network keeps it under a reference; the receiver's session
//! stores the message first and fetches the file afterwards (`message.media`).
//!
//! # Rules
//!
//! * Event numbers and stored times of a number come from its one locked counter row ([`store::Journal`]), taken after
//!   chat rows and before account rows; there are no gaps, and time never runs backwards.
//! * The counter row also holds the lease. Every write of a session locks it with owner and fence, so a process that
//!   lost its lease changes nothing.
//! * Requests about one number's registration on a network that sends the codes come one after the other, each under a lease
//!   of its own, by which it writes (`sessions::network_registration`). Between two of them no process holds anything.
//! * A group is stored once for all accounts in it (`store::group`): what a network reports of it is written by its
//!   revision, in a transaction that locks the group's row and no other. What an account has heard of it is in its chat.
//! * Requests of the same moment share a round trip ([`db::batcher`]), writes a transaction (`store::writer`). A shared
//!   transaction takes only locks that are free, so that a locked account holds up nobody else.
//! * A cache in memory is 5 s old at most and decides about nothing that is written: a send checks again.
//! * No foreign key leads from a message to its chat or from an event to its counter: who writes one holds the lock on the
//!   other, and triggers delete them together.
//! * NOTIFY is sent after the commit, never in the transaction; a task that waits registers first and reads after.
//! * No transaction is open while the network is awaited. One is open while a stored file is deleted, for 5 s at most: the
//!   row's lock keeps the same file from coming again meanwhile.
//! * A table that refers to a stored file has a foreign key to it and is part of the view `media_reference`, where the
//!   clean-up looks.
//! * Which groups an account is in, and whom it may write to, are views (`account_group`, `writable_chat`): no query says
//!   it in its own words.
//! * A POST with an `Idempotency-Key` runs under a claim that is committed first and ends with its process's heartbeat
//!   (`middleware::idempotency`). Effect and answer are committed together; a command that it asks of a session is resumed
//!   by a repeat.
//!
//! # Decisions
//!
//! * The lease (owner, fence) is in `account_counter`, not in `account`: every write of a session locks that row
//!   anyway, so the fence costs no statement of its own and cannot race.
//! * Processes share accounts by the numbers that each says it holds (`process.held`) and by the free ones, which an index
//!   lists: a count of all accounts, each second, would grow with them.
//! * The counter row is locked after chats and before all other rows of an account, not last: the times that it gives
//!   are written into them.
//! * A delivered receipt has no queue of its own on a network that sends again what was not acknowledged
//!   ([`upstream::Capabilities::tells_again`]): acknowledging includes it.
//! * On the network `local` an account that wants to be seen as online is so while no session of it runs, too: the presence
//!   is what the user asked for.
//! * What an adapter keeps of an account is encrypted as credentials are, because it may hold the keys of a login; its keys
//!   stay readable. Values from before are read, and encrypted then. The state of a network as a whole is plain.
//! * A group's members are stored once per deployment, not once per account that is in it: of 1,024 accounts that hear of
//!   a change one writes it.
//! * A blocked person's messages are dropped by the network where it can, and in any case when they are stored; a network
//!   is asked to discard them, without a receipt ([`upstream::Connection::discard`]).
//! * The writer shares transactions between accounts instead of writing each request alone, which was measured at 0.56 of
//!   pgbench with the same INSERT, against 1.04 and more. Its two frequent transactions are functions in PL/pgSQL, not one
//!   statement each: `store::writer` says why, with figures. A function that changes gets a new number, so that the
//!   previous version of the program finds its own.
//! * Statements must not depend on the planner's statistics: connections forbid sequential and bitmap scans and keep generic
//!   plans, so each statement is written for the one index that serves it.
//! * What grows with an account is done in slices (`maintenance::slices`): a removed account loses its user at once, which
//!   hides it from every query, and its rows later; a long chat is marked as read from its oldest message on; the queue of a
//!   number that moved fails after the number is gone, so `account.unregistered` comes before its `message.failed`.
//! * A webhook has a place in its user's sequence, not a row for each event that waits: a receiver that is away costs nothing,
//!   however much waits. An account whose events wait long gets a place of its own, so that the others go on.
//! * What a webhook's process has sent is stored a moment later, for many events at once: after a kill some are sent again.
//! * The event `webhook.test` is in the journal like all others, but it is sent by the request alone.
//! * `db` knows no word of the product: a topic of its notifications is a letter and a key, which `store::topic` names.
//! * What a newer version of the program has written is left to it and holds up nothing: stanzas stay in their mailboxes,
//!   messages in the outbox, desired state stays due. Lists show a kind or a state that they do not know by its name.
//! * The list of chats goes by `chat.recent_at`, which follows the last message within a minute: an index over the time of
//!   the last message would have to learn of every message.
//! * An index that serves one statement alone has a negated id, so that no other statement can be planned with it.
//! * A program works with the tables of a newer version, so that processes are replaced one by one, until a migration stores
//!   in `deployment` under `oldest_program` that older ones cannot; then they refuse to start.
//! * The figures are one static value, as the log is: what counts something takes no handle. What is of the whole
//!   deployment is asked of PostgreSQL at a scrape, at most every ten seconds.
//! * A span of a trace is written when the response is ready, not by tracing's own spans: without a collector it costs
//!   nothing, and what a log line has does not become a span's by accident.
//! * The OpenAPI document describes one schema for all forms of a body, and for a file the multipart form alone, because
//!   generators of clients do not understand alternatives. JSON with numbers for texts, or null, is taken all the same.
//! * A backup is written by this program and not by `pg_dump`: that may be missing or of another version, and knows neither
//!   the media nor the key. Its tables are text of COPY from one snapshot; a restoration takes foreign keys and triggers
//!   away and makes them again, because only a superuser could switch them off.
//! * Whose the accounts of a network are follows from how a number is proved there ([`upstream::RegistrationKind`]): by a code
//!   of ours, then we create the account and delete it; or by the network itself, then a person logs in and out. Therefore
//!   `unregister` and `log_out` are two methods of a connector, and each network has one of them.
//! * A registration by the network's codes has a lease for the number, not the lease of the account's session: several users
//!   may prove one number, a session may run meanwhile, and the supervisor frees the leases for which it runs no session. For
//!   the same reason the adapter's state of a registration is apart until the new login replaces the account's.
//! * An account or a login that cannot leave its network at once is noted (`departure`) and tried again for a week, because
//!   the new owner of a number must not have to wait for the former owner's network. Only where both are on one network whose
//!   accounts are ours does the new owner wait: a deletion that took effect later would be that of the new account.
//! * The network's code renews a login that works, unlike a code of ours: the network has given a new login, and may have
//!   ended the old one. A new login is stored before anything else is done with it, because a network takes a code once.
//! * A number and an address become one person by [`upstream::UpstreamEvent::Resolved`]. There is no event for two addresses
//!   of one person, because no network has them yet.
//! * On XMPP a stream is an own task over tokio-xmpp's public pieces: what the crate's own client reads it acknowledges at
//!   once, here that follows the commit, and what does not parse is not dropped. Streams are never resumed.
//! * On XMPP the archive is read before the first presence, because it has the order, and from before the last messages
//!   whose receipts the server certainly has: Prosody repeats nothing that a session could have read in its archive. It also
//!   withholds what no archive has from a session that has asked for the archive, so there the presence comes first, and what
//!   the server then sends of the archive is left to the archive.
//! * On XMPP the order of a chat is that in which the server passes messages on. ejabberd keeps what stood in the queue of a
//!   silent connection until its socket fails; by then the next connection may have newer messages. To wait for that would
//!   delay all messages after each silence by up to 15 seconds.
//! * On XMPP profiles go by presence with an element of Windu's own, since no usual form says that something is hidden; a
//!   presence says the whole state, so only differences become news.
//! * On XMPP a group is a room, whose record (`network_state`) has what rooms do not know: revisions, and who joined when. A
//!   change is written to the record first and done in the room after it, by whichever process is there, and its
//!   announcement in the room only names the revision: who reads it looks it up, so nobody can forge one.
//! * On XMPP a message of a room is a sign to read the room's archive, which has the order and the authors. That costs a
//!   request for each batch of messages and member, and spares the presence of all members, by which nicknames could be
//!   trusted.
//! * On XMPP a room that another app has made becomes a group by an invitation, if it is for members only, shows who is in it
//!   and has an archive: then what it says of its members becomes the record, and authors are known. Rooms that are open to
//!   all, anonymous or without an archive are not followed, because their occupants would be people by nicknames, whose
//!   messages nobody could read later. Such rooms are asked by a task of their own, since a server of somebody else may
//!   answer late or never, and reading their archives takes a fifth of a session's time at the most. Who may invite,
//!   and how often, is in `upstream::xmpp::invitations`.
//! * On XMPP the picture of a room is that of its group, also when another app sets it. A room announces its id to all who
//!   are inside; the bytes are read only when the record has another id, and stored as a photo of ours. The record keeps the
//!   id, because the photo has other bytes.
//! * Where a network lets each account know other numbers and addresses, the account has a directory of its own, so that no
//!   statement can show what another account knows. The rows of a removed directory are erased and stay: to delete one would
//!   search each table that may refer to it. Such accounts ask [`upstream::Connection::existing`], which gives addresses
//!   with the numbers; where addresses follow from numbers, [`upstream::Connector::existing`] gives numbers alone.
//! * A person whose number became known is the row that was known by address, because received messages refer to it; the
//!   messages that were sent to the number alone are the ones that move, in slices.
//! * Of people with other XMPP apps the nickname and picture are looked up when they come online. To receive each
//!   change (XEP-0163, `+notify`) would bring two events for each contact of Windu's own at each login.
//! * A network that chooses the ids of messages may report a receipt before the outcome of its message is stored. It is
//!   stored as an early event, bounded by sender, account and age, and nothing waits: a receipt that waited for the outcome
//!   while the outcome waited for the reader of the same connection would wait for ever. Remote ids have a table of their
//!   own, so that networks without them pay nothing and no index of a message learns of one.
//! * A receipt that counts for all earlier messages is stored as one for each of them, oldest first and page by page, before
//!   it is acknowledged: no transaction grows with the chat, and an interrupted one goes on when it comes again.
//! * jemalloc is the allocator, because its own threads give back what a burst has used, after ten seconds: a minute after
//!   a hundred failed logins the server holds 29 MiB. With the allocator of the C library it held 185 MiB, with mimalloc 2
//!   243 MiB and with mimalloc 3 71 MiB; those do so only when something else is freed.
//! * What an account does rarely and what takes much memory, such as a login or a comparison of rooms, is awaited in a box: a
//!   task that waits holds room for all that it may await one day. That takes an idle session on XMPP from 101 to 45 KiB. The
//!   linter refuses larger futures (`.clippy.toml`).
//! * A request has one deadline ([`lifecycle::Deadline`]), which its task carries, instead of a parameter of each function:
//!   at the deadline its work is dropped, so that nothing happens after the refusal.
//! * The message broker gets each account's events one by one, the next after the acknowledgement: JetStream may refuse one
//!   and take the one behind it. The places are stored here and not asked of the stream, which its operator may empty.
//! * One crate: the layers are held by a test instead of by manifests, since two cores build one crate as fast.
//! * `build.rs` is in `migrations/`, to keep the top level small.

pub mod app;
pub mod backup;
pub mod cli;
pub mod clock;
pub mod config;
pub mod db;
pub mod domain;
pub mod events;
pub mod fair_share;
pub mod fetch;
pub mod http;
pub mod lifecycle;
pub mod maintenance;
pub mod media;
pub mod metrics;
pub mod oauth;
pub mod secrets;
pub mod sessions;
pub mod store;
pub mod telemetry;
pub mod upstream;
pub mod verification;
pub mod webhooks;
