//! Why the core refuses or gives up: one kind per reaction a caller can have.

/// What sort of failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Another engine owns the store.
    Locked,
    /// The store is newer than this code.
    Version,
    /// Stored data is damaged.
    Corrupt,
    /// Input or output failed.
    Failed,
    /// An argument makes no sense.
    Invalid,
    /// The engine was closed.
    Closed,
    /// A bug of ours.
    Internal,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Locked,
        Self::Version,
        Self::Corrupt,
        Self::Failed,
        Self::Invalid,
        Self::Closed,
        Self::Internal,
    ];

    /// Returns the word that crosses the border.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Locked => "locked",
            Self::Version => "version",
            Self::Corrupt => "corrupt",
            Self::Failed => "failed",
            Self::Invalid => "invalid",
            Self::Closed => "closed",
            Self::Internal => "internal",
        }
    }
}

/// A failure with its text for the user.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    /// What sort.
    pub kind: Kind,
    /// What happened and what to do.
    pub message: String,
}

impl Error {
    /// Returns a failure of this kind.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
        }
    }
}
