//! The life of an instance, as a table: state × event → state. (Placeholder head; see the table.)

/// The states of an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Status {
    /// Has no slot yet.
    Queued = 0,
    /// Has a slot; its body may run.
    Running = 1,
    /// Every open operation is a wait; holds no slot.
    Waiting = 2,
    /// Asked to pause; running steps finish.
    WaitingForPause = 3,
    /// Paused.
    Paused = 4,
    /// Needs a human.
    Blocked = 5,
    /// Returned.
    Complete = 6,
    /// Raised.
    Errored = 7,
    /// Was stopped.
    Terminated = 8,
}

impl Status {
    /// All states, in the order of their codes.
    pub const ALL: [Self; 9] = [
        Self::Queued,
        Self::Running,
        Self::Waiting,
        Self::WaitingForPause,
        Self::Paused,
        Self::Blocked,
        Self::Complete,
        Self::Errored,
        Self::Terminated,
    ];

    /// Returns the state with this stored code.
    #[must_use]
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.get(usize::from(code)).copied()
    }

    /// Returns whether nothing can change any more.
    #[must_use]
    pub fn is_final(self) -> bool {
        self >= Self::Complete
    }
}
