//! The words that stand for something at the border: why the core says no, and why an instance is
//! blocked.
//!
//! They are stored, and callers match on them, so each is written here and nowhere else. What
//! operations, verdicts and states are called is in [`crate::history`] and [`crate::lifecycle`].

macro_rules! words {
    ($($(#[$about:meta])+ $name:ident = $word:literal;)+) => {
        $($(#[$about])+ pub const $name: &str = $word;)+

        /// All of them: the name of the constant, and the word.
        pub const ALL: &[(&str, &str)] = &[$((stringify!($name), $name)),+];
    };
}

words! {
    /// There is no such instance.
    NOT_FOUND = "not_found";
    /// The id is taken.
    EXISTS = "exists";
    /// The id is taken, by an instance with other params.
    SAME_ID_OTHER_PARAMS = "same_id_other_params";
    /// The instance is in a state in which this cannot be done.
    STATE = "state";
    /// What became of an approval: somebody said yes.
    APPROVED = "approved";
    /// Somebody said no.
    REJECTED = "rejected";
    /// The child was terminated.
    TERMINATED = "terminated";
    /// No code is registered for the version of the instance; also why it is blocked.
    MISSING_CODE = "missing_code";
    /// A rate or the queue is at its limit, or the disk is full.
    OVERLOADED = "overloaded";
    /// The instance has no such step.
    NO_STEP = "no_step";
    /// The step has an outcome already.
    RESOLVED = "resolved";
    /// Nothing of the instance failed.
    NOTHING_FAILED = "nothing_failed";
    /// Which limit, where it is none that users set: the room on the disk of the store.
    DISK = "disk";
    /// The instance has used something up.
    LIMIT = "limit";
    /// Which limit, where it is none that users set: events kept until something waits for them.
    BUFFERED_EVENTS = "buffered_events";
    /// Which limit, where it is none that users set: schedules of one engine.
    SCHEDULES = "schedules";
    /// Another change is under way that keeps this one out.
    UNDER_WAY = "under_way";
    /// The creation was given up before it was let in.
    GIVEN_UP = "given_up";
    /// The engine drains, and lets nothing in any more.
    DRAINS = "drains";
    /// The engine was closed before this was done.
    CLOSED = "closed";
    /// The store could not be read or written.
    STORE = "store";
    /// What is stored is damaged; also why an instance is blocked.
    CORRUPT = "corrupt";
    /// It was changed meanwhile by somebody else.
    OUTDATED = "outdated";
    /// An argument makes no sense.
    INVALID = "invalid";
    /// Why an instance is blocked: too many unclean stops without progress (L11).
    RECOVERIES = "recoveries";
    /// Why instances are where they are: they are queued for a slot, and what holds them up is asked
    /// when somebody wants to know.
    QUEUED = "queued";
    /// All slots of the engine are in use.
    SLOTS = "slots";
    /// All slots that the namespace may have are in use.
    NAMESPACE_CONCURRENCY = "namespace_concurrency";
    /// All slots that the workflow may have are in use.
    CONCURRENCY = "concurrency";
    /// Nothing holds them up: they start.
    STARTING = "starting";
    /// They are not to start before a moment that is to come.
    START_AT = "start_at";
    /// A step is between two attempts.
    RETRYING = "retrying";
    /// They wait for an event.
    FOR_EVENT = "event";
    /// They wait for somebody's decision.
    FOR_APPROVAL = "approval";
    /// They sleep.
    FOR_SLEEP = "sleep";
    /// They wait for the end of another instance.
    FOR_CHILD = "child";
    /// What they wait for was due, and has not happened yet.
    OVERDUE = "overdue";
    /// Somebody paused them.
    PAUSED = "paused";
    /// They ended with an error.
    ENDED_IN_ERROR = "failed";
    /// All other reasons.
    OTHER = "other";
    /// Why an instance is queued that could run: it may kill the process, and others are tried
    /// first.
    HELD_BACK = "held_back";
}
