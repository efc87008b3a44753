//! Ids of rows, of one type per table, so that they cannot be confused; and the lease.

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident),+ $(,)?) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(pub i64);

        impl std::fmt::Display for $name {
            fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                self.0.fmt(formatter)
            }
        }
    )+};
}

ids! {
    /// A login of this server.
    UserId,
    /// An OAuth client's row.
    ClientId,
    /// One phone number of a user on one network. Not the number; logs name accounts by this.
    AccountId,
    /// The row that numbers the events of a user's number and holds its lease.
    CounterId,
    /// A person or a group on a network.
    PeerId,
    /// A conversation of an account.
    ChatId,
    /// A message's row; clients see the network's id instead.
    MessageId,
    /// A running program that shares the database.
    ProcessId,
    /// A command to an account's session.
    CommandId,
    /// A webhook's row; clients see its public id instead.
    WebhookId,
}

/// The right of one process to run an account's session. Each write of a session asserts it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Lease {
    pub account: AccountId,
    /// The row that holds the lease.
    pub counter: CounterId,
    pub process: ProcessId,
    /// Grows by one with each claim.
    pub fence: i64,
}
