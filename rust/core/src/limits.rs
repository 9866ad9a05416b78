//! Limits of the core, each with its reason. Limits of users (names, values, counts) are checked
//! where they enter.

/// Tables of the registry, each under a lock of its own: one per range.
pub const TABLES: u16 = crate::ids::RANGES;
/// Shards of a store that was never told how many: few enough to cost nothing, more than cores.
pub const SHARDS: u32 = 64;
/// Operations in one commit: enough to share one sync among hundreds of callers, few enough to keep
/// the commit short.
pub const BATCH_OPS: usize = 512;
/// Bytes of payload in one commit, for the same reason.
pub const BATCH_BYTES: usize = 1 << 20;
/// Overdue timers that may ride in one commit (T1: a bounded rate).
pub const BATCH_TIMERS: usize = 512;
/// Submissions that may wait for the writer; beyond that callers wait.
pub const INBOX: usize = 1 << 16;
/// Events kept for one instance until something waits for them (Q1).
pub const EVENTS: usize = 1_000;
/// How long rows of the audit are kept, in microseconds.
pub const AUDIT_KEPT: i64 = 400 * 86_400_000_000;
/// How long what was done to many is kept after its end, in microseconds.
pub const BULK_KEPT: i64 = 30 * 86_400_000_000;
/// Firings that are kept of one schedule.
pub const FIRINGS_KEPT: u64 = 10_000;
/// Schedules of one engine.
pub const SCHEDULES: usize = 10_000;
/// After so many changes of a schedule older ones are forgotten.
pub const FIRINGS_FORGOTTEN: u64 = 64;
/// How long it is kept what calls from outside were answered, in microseconds.
pub const CALLS_KEPT: i64 = 900_000_000;
/// How often is looked for rows to forget, in microseconds.
pub const FORGETTING: i64 = 3_600_000_000;
/// Rows that are forgotten in one commit.
pub const FORGOTTEN: u32 = 256;
/// How long chunks of a stream are kept in place of which a step's outcome stands, in microseconds.
pub const CHUNKS_KEPT: i64 = 600_000_000;
/// Bytes of a stream that one look reads, and one chunk more at most.
pub const STREAM_READ: u64 = 1 << 20;
/// Rows of the audit that one look for some goes through.
pub const AUDIT_READ: usize = 20_000;
/// Priorities are from minus this to this; higher goes first.
pub const PRIORITY_MAX: i8 = 100;
/// Numbers reserved in the store at a time.
pub const NUMBERS: u64 = 1 << 20;
/// Numbers, and places of records, stay below it: the registry keeps numbers in 56 bits, and no
/// store gets that far.
pub const NUMBERS_END: u64 = 1 << 56;
/// The first ticket: far beyond every number of the store, so that the two never meet.
pub const FIRST_TICKET: u64 = 1 << 62;
/// Estimate, in microseconds, told to callers whom a full queue refused that has never drained.
pub const QUEUE_RETRY: i64 = 1_000_000;
/// The shortest such estimate: sooner nothing will have changed.
pub const QUEUE_RETRY_MIN: i64 = 50_000;
/// The longest: by then the queue may drain faster than it did, so it is worth another look.
pub const QUEUE_RETRY_MAX: i64 = 60_000_000;
/// How long, in microseconds, a moment that was reserved for a creation stays so: long enough for a
/// caller that slept as told on a busy machine, short enough that one who went away costs little.
pub const MOMENT_WINDOW: i64 = 1_000_000;
/// Creations of one namespace that may have their moments reserved at once, whatever the rate: a
/// hundred callers may wait as told.
pub const MOMENTS: u64 = 128;
/// And so many seconds' worth, where that is more; who calls again and again pushes others no
/// further.
pub const MOMENTS_SECONDS: f64 = 10.0;
/// But never more than this: each refused caller may have to look through them.
pub const MOMENTS_MAX: u64 = 4_096;
/// Longest sleep of the writer, in microseconds: a jump of the wall clock is seen after this (T2).
/// Linux would tell of jumps at once (a timerfd with `TFD_TIMER_CANCEL_ON_SET`), for the price of a
/// thread that waits for that and of one more way to be woken; a look every few seconds costs an
/// idle engine nothing that can be measured, works everywhere, and also sees a machine resume.
pub const NAP: i64 = 5_000_000;
/// Gathered submissions that wake the writer before `flush`: half a batch, so that it commits while
/// the rest is still being submitted.
pub const GATHER: usize = 256;
/// Answers to callers that are polled at a time: each lets a task go on, some 20 µs of the loop.
pub const ANSWERS: usize = 512;
/// Instances whose time is over that one commit deletes: some milliseconds.
pub const PURGED: u32 = 64;
/// When those are looked at again, in microseconds, that could not go although their time is over.
pub const PURGE_AGAIN: i64 = 3_600_000_000;
/// How long, in microseconds, the first retention of a store that has instances whose time is over
/// holds back: long enough to read the warning and take it back.
pub const PURGE_NOTICE: i64 = 3_600_000_000;
/// Children that a look at whoever waits for them names: each is a read.
pub const CHILDREN_NAMED: usize = 20;
/// Types of kept events that such a look names.
pub const TYPES_NAMED: u32 = 20;
/// Records that cost as much on replay as a body costs to begin.
pub const RECORDS_A_START: usize = 16;
/// Longest the writer waits for the end of a round of submissions that has begun.
pub const GATHERING: std::time::Duration = std::time::Duration::from_millis(2);
/// How long the writer waits for something to do before it goes on to free rows and give pages back,
/// a millisecond's worth at a time: a tenth of one core at most.
pub const TIDYING: std::time::Duration = std::time::Duration::from_millis(10);
/// How often a full disk, or one that is short of room, is tried again, in microseconds.
pub const DISK_RETRY: i64 = 250_000;
/// Estimate, in microseconds, told to callers whom a full disk refused.
pub const DISK_RETRY_AFTER: i64 = 1_000_000;
/// How long another program may lock the store, in microseconds, before that is told.
pub const LOCKED_TOLD: i64 = 10_000_000;
