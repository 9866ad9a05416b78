//! How far the undoing of an instance's steps is (L8).
//!
//! An instance whose body failed, or that somebody terminates so, first undoes what it did. That
//! it is to is kept with it until its end, and how that went for as long as the instance is there.
//! This knows neither steps nor what undoes them.

/// How far it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Undo {
    /// It is to undo its steps, or does; then it ends.
    Running = 0,
    /// All that was to be undone is.
    Complete = 1,
    /// An undo gave up, or was given up; what came after it was not undone.
    Failed = 2,
}

impl Undo {
    /// All of them, in the order of their codes.
    pub const ALL: [Self; 3] = [Self::Running, Self::Complete, Self::Failed];

    /// Returns what the API calls it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Complete => "complete",
            Self::Failed => "failed",
        }
    }

    /// Returns the one with this stored code.
    #[must_use]
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.get(usize::from(code)).copied()
    }
}
