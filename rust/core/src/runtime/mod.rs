//! The engine with its threads: what drives the core and does its I/O.
//!
//! Locking: every lock below is a leaf or taken in the order residents → outbox; none is held
//! while deciding, committing or reading. The caller's thread takes only the inbox, one registry
//! shard, the residents (`park`), the alarms and the outbox, each for a few instructions. A panic
//! in a thread poisons the engine and is told as a note; it never crosses into the caller.

mod alarms;
mod calls;
mod ceiling;
mod copies;
mod figures;
mod inbox;
pub(crate) mod loader;
mod meter;
mod nap;
mod onlooking;
mod outbox;
mod outlast;
pub(crate) mod questions;
#[cfg(test)]
mod told;
mod unbegun;
mod writer;

use std::collections::VecDeque;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::Arc;
use std::thread::JoinHandle;

use parking_lot::{Mutex, RwLock};

pub use figures::OfWorkflow;
pub use inbox::Refused;
pub use onlooking::{Seen, Sight, StoreFile};
pub use questions::{Parent, Question};

use crate::clock::Clock;
use crate::engine::{Config, Core, Facts};
use crate::error::{Error, Kind};
use crate::ids::{Micros, Seq};
use crate::lanes::Lanes;
use crate::limits::{BATCH_OPS, FIRST_TICKET};
use crate::note::Note;
use crate::ranges::SHARDS_MAX;
use crate::registry::Registry;
use crate::residents::Residents;
use crate::sequence::Sequence;
use crate::settings::book::Book;
use crate::settings::is_name;
use crate::store::memory::MemoryStore;
use crate::store::renames::{self, Pairs};
use crate::store::sqlite::SqliteStore;
use crate::store::{self, Row, Store};
use crate::submission::Submission;
use crate::tally::Tally;
use crate::watches::Watches;

impl From<store::Error> for Error {
    fn from(error: store::Error) -> Self {
        let kind = match &error {
            store::Error::Locked(_) => Kind::Locked,
            store::Error::Version(_) => Kind::Version,
            store::Error::Corrupt(_) | store::Error::Row(_) => Kind::Corrupt,
            store::Error::Failed(_)
            | store::Error::Full(_)
            | store::Error::Busy(_)
            | store::Error::NotYours(_) => Kind::Failed,
            store::Error::Invalid(_) => Kind::Invalid,
        };
        Self::new(kind, error.to_string())
    }
}

/// What the threads and the caller share.
#[derive(Debug)]
struct Shared {
    inbox: inbox::Inbox,
    outbox: outbox::Outbox,
    tasks: loader::Tasks,
    alarms: alarms::Alarms,
    registry: Arc<Registry>,
    residents: Arc<Residents>,
    watches: Arc<Watches>,
    tally: Arc<Tally>,
    sequence: Arc<Sequence>,
    limits: Arc<RwLock<Book>>,
    clock: Arc<Clock>,
    tickets: AtomicU64,
    next_timer: AtomicI64,
    meter: meter::Meter,
    failure: Mutex<Option<Error>>,
}

impl Shared {
    fn say_idle(&self) {
        if self.clock.is_virtual() {
            self.outbox.put(vec![Note::Idle], None);
        }
    }

    fn set_next_timer(&self, at: Option<Micros>) {
        self.next_timer
            .store(at.unwrap_or(i64::MAX), Ordering::Release);
    }

    /// Nothing will be acknowledged any more; said once.
    fn poison(&self, error: &Error) {
        let mut failure = self.failure.lock();
        if failure.is_some() || self.inbox.phase() == inbox::Phase::Dead {
            return;
        }
        *failure = Some(error.clone());
        let kind = match error.kind {
            Kind::Corrupt | Kind::Internal => error.kind,
            _ => Kind::Failed,
        };
        let kind = kind.as_str();
        let message = error.message.clone();
        // Told first: whoever finds the engine idle has the reason already.
        self.outbox.put_last(Note::Failed { kind, message });
        self.inbox.enter(inbox::Phase::Dead);
        self.tasks.end();
    }

    fn submit_patiently(&self, mut submission: Submission) -> bool {
        loop {
            match self.inbox.submit(submission) {
                Ok(()) => return true,
                Err(Refused::Closed) => return false,
                Err(Refused::Full(again)) => {
                    submission = *again;
                    self.inbox.wait_for_room();
                }
            }
        }
    }
}

/// Runs a thread's work; a panic poisons the engine instead of vanishing with the thread.
fn guarded(shared: &Shared, work: impl FnOnce()) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(work)) {
        let text = panic
            .downcast_ref::<String>()
            .map(String::as_str)
            .or_else(|| panic.downcast_ref::<&str>().copied())
            .unwrap_or("a panic without a message");
        let message = format!("a bug in the core, please report it: {text}");
        shared.poison(&Error::new(Kind::Internal, message));
    }
}

/// Where the records are.
#[derive(Debug, Clone)]
enum Origin {
    Memory(MemoryStore),
    File(PathBuf),
}

/// A running engine.
#[derive(Debug)]
pub struct Engine {
    shared: Arc<Shared>,
    config: Config,
    name: Box<str>,
    origin: Origin,
    copies: copies::Copies,
    suspected: Vec<Row>,
    unreadable: Vec<String>,
    overdue: Option<(u64, Micros)>,
    found: Seq,
    threads: Mutex<Vec<JoinHandle<()>>>,
    /// The process that opened it; a forked child has none of the threads.
    process: u32,
}

impl Engine {
    /// Opens the store (a path, or `:memory:`), recovers and starts the threads.
    ///
    /// # Errors
    /// If the store cannot be opened or read, or a setting makes no sense; nothing was
    /// changed then.
    pub fn open(
        store: impl AsRef<Path>,
        name: &str,
        config: Config,
        virtual_time: Option<Micros>,
    ) -> Result<Self, Error> {
        let told = config.shards;
        if let Some(shards) = told.filter(|it| !(1..=SHARDS_MAX).contains(it)) {
            let message = format!("shards is {shards}; it must be 1 to {SHARDS_MAX}");
            return Err(Error::new(Kind::Invalid, message));
        }
        if !is_name(&config.namespace) {
            let message = format!(
                "namespace {:?} is no name; give 1 to 64 letters, digits, _ and -, the first of \
                them no -",
                config.namespace
            );
            return Err(Error::new(Kind::Invalid, message));
        }
        let store = store.as_ref();
        let origin = if store == Path::new(":memory:") {
            Origin::Memory(MemoryStore::default())
        } else {
            Origin::File(store.into())
        };
        Self::start(origin, name, config, Arc::new(Clock::new(virtual_time)))
    }

    /// Opens an engine on these records in memory: for tests that look at them or make them fail.
    ///
    /// # Errors
    /// As `open`.
    pub fn open_memory(
        store: &MemoryStore,
        config: Config,
        virtual_time: Option<Micros>,
    ) -> Result<Self, Error> {
        let clock = Arc::new(Clock::new(virtual_time));
        Self::start(Origin::Memory(store.clone()), "test", config, clock)
    }

    /// Returns the names that workflows had before, each with the one it has now.
    #[must_use]
    pub fn formerly(&self) -> &Pairs {
        &self.config.formerly
    }

    /// After `crash`: a new engine on the same records, with the same settings and clock.
    ///
    /// # Errors
    /// As `open`.
    pub fn reopen(&self) -> Result<Self, Error> {
        self.crash();
        let clock = Arc::clone(&self.shared.clock);
        Self::start(self.origin.clone(), &self.name, self.config.clone(), clock)
    }

    fn start(origin: Origin, name: &str, config: Config, clock: Arc<Clock>) -> Result<Self, Error> {
        let mut store: Box<dyn Store> = match &origin {
            Origin::Memory(memory) => Box::new(memory.reopen()),
            Origin::File(path) => Box::new(SqliteStore::open(path, name)?),
        };
        let named = renames::rename(&mut *store, &config.formerly, &config.workflows)?;
        let config = Config {
            formerly: named,
            ..config
        };
        let registry = Arc::new(Registry::new());
        let residents = Arc::new(Residents::default());
        let watches = Arc::new(Watches::default());
        let mut reader = store.reader()?;
        let sequence = Arc::new(Sequence::new(ceiling::read(&mut *store, &mut *reader)?));
        let loader_reader = store.reader()?;
        let copies = copies::Copies::new(store.copier());
        let mut facts = Facts { store, reader };
        let mut core = Core::new(
            config.clone(),
            Arc::clone(&registry),
            Arc::clone(&residents),
            Arc::clone(&sequence),
            Arc::clone(&watches),
        );
        let found = facts.reader.last_seq()?;
        core.begin(clock.now());
        core.recover(&mut facts)?;
        core.finish_batch();
        let suspected = core.take_suspected();
        let unreadable = core.take_unreadable();
        let overdue = core.take_overdue();
        let outbox = outbox::Outbox::new()
            .map_err(|error| Error::new(Kind::Failed, format!("no socket: {error}")))?;
        let shared = Arc::new(Shared {
            inbox: inbox::Inbox::new(),
            outbox,
            tasks: loader::Tasks::default(),
            alarms: alarms::Alarms::default(),
            registry,
            residents,
            watches,
            tally: core.tally(),
            sequence,
            limits: core.limits_in_force(),
            clock,
            tickets: AtomicU64::new(FIRST_TICKET),
            next_timer: AtomicI64::new(i64::MAX),
            meter: meter::Meter::default(),
            failure: Mutex::new(None),
        });
        let mut writer = writer::Writer {
            core,
            facts,
            pending: Lanes::default(),
            news: VecDeque::new(),
            ahead: [BATCH_OPS; 2],
            short: None,
        };
        writer.commit(&shared)?;
        writer.look_at_room(&shared);
        for left in writer.core.take_hopeful() {
            writer.pending.push(left);
        }
        let engine = Self {
            shared: Arc::clone(&shared),
            config,
            name: name.into(),
            origin,
            copies,
            suspected,
            unreadable,
            overdue,
            found,
            threads: Mutex::new(Vec::new()),
            process: std::process::id(),
        };
        let for_loader = Arc::clone(&shared);
        engine.spawn("stepwell-loader", move || {
            loader::run(&for_loader, loader_reader);
        })?;
        engine.spawn("stepwell-writer", move || writer::run(&shared, writer))?;
        Ok(engine)
    }

    fn spawn(&self, name: &str, work: impl FnOnce() + Send + 'static) -> Result<(), Error> {
        let thread = std::thread::Builder::new()
            .name(name.into())
            .spawn(work)
            .map_err(|error| Error::new(Kind::Failed, format!("no thread: {error}")))?;
        self.threads.lock().push(thread);
        Ok(())
    }

    fn join(&self) {
        let threads = std::mem::take(&mut *self.threads.lock());
        for thread in threads {
            // A panic was caught inside and told as a note.
            let _ = thread.join();
        }
    }

    /// Returns whether this is the process that opened the engine. A forked child has neither the
    /// threads nor the locks; whatever it did would wait for ever or harm the store, so it does
    /// nothing, and what it submits is refused.
    #[must_use]
    pub fn is_ours(&self) -> bool {
        std::process::id() == self.process
    }

    /// Refuses a forked child before anything is locked: whoever held a lock at the fork is not
    /// there any more to let it go.
    fn open_here(&self) -> Result<(), Refused> {
        if self.is_ours() {
            return Ok(());
        }
        Err(Refused::Closed)
    }

    /// Returns those that had ended, or gone to wait, too short a time before the last process died
    /// to be proven innocent of it, among those that were tried for that (L11).
    #[must_use]
    pub fn suspected(&self) -> &[Row] {
        &self.suspected
    }

    /// Returns what there is to say of instances whose own rows cannot be read: they are left as
    /// they are.
    #[must_use]
    pub fn unreadable(&self) -> &[String] {
        &self.unreadable
    }

    /// Returns how many instances go by the first retention that the store was opened with, and
    /// when; none if it is not the first, or none would go.
    #[must_use]
    pub fn overdue(&self) -> Option<(u64, Micros)> {
        self.overdue
    }

    /// Returns the last record that was there when the engine was opened: what came after it, no
    /// body of an earlier process has seen.
    #[must_use]
    pub fn found(&self) -> Seq {
        self.found
    }

    /// Stops as a killed process would: what was not acknowledged is dropped.
    pub fn crash(&self) {
        if !self.is_ours() {
            return;
        }
        self.shared.outbox.seal();
        self.shared.inbox.enter(inbox::Phase::Dead);
        self.shared.tasks.end();
        self.copies.join();
        self.join();
    }

    /// Commits what was submitted, clears the running marks, closes the store.
    ///
    /// # Errors
    /// If the engine was poisoned before or closing failed.
    pub fn close(&self) -> Result<(), Error> {
        if !self.is_ours() {
            let message = "this process was forked from the one that opened the engine";
            return Err(Error::new(Kind::Closed, message));
        }
        // The loader and copies first: their readers must be gone when the store closes.
        self.shared.tasks.end();
        self.copies.join();
        let mut threads = std::mem::take(&mut *self.threads.lock()).into_iter();
        if let Some(loader) = threads.next() {
            let _ = loader.join();
        }
        if self.shared.inbox.phase() == inbox::Phase::Open {
            self.shared.inbox.enter(inbox::Phase::Closing);
        }
        for writer in threads {
            let _ = writer.join();
        }
        self.shared.outbox.hang_up();
        self.shared.failure.lock().clone().map_or(Ok(()), Err)
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        if self.is_ours() {
            self.crash();
        } else {
            // In a forked child the threads are gone; their handles must not be touched.
            std::mem::forget(std::mem::take(self.threads.get_mut()));
        }
    }
}
