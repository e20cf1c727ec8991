//! What this replica is among those that serve one database.

/// Who leads, and how this replica's configuration stands to what filters have.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Standing {
    /// The replica that leads, or did last; empty before the first.
    pub leader: String,
    /// How the configuration stands.
    pub configuration: Agreement,
}

/// How a replica's configuration stands to the one that the leader has published.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Agreement {
    /// No replica has published its configuration yet: what filters would get refuses everybody.
    #[default]
    Unpublished,
    /// Filters have what this replica's configuration says.
    Agrees,
    /// The leader has another one, and what it says counts. These parts differ.
    Differs(Vec<String>),
}
