//! Failing operations: each one in turn, in each way.
//!
//! The store reports an error and refuses everything from then on; who opens it anew finds what
//! was acknowledged, and of the batch that failed all or nothing. That holds for a process that
//! is started again on a kernel that lives (which still shows what no sync made durable), for a
//! power loss at that moment, and for a power loss after the new process has committed more. The
//! last is judged only where no sync has failed, unless `STEPWELL_HOLES` is set: after a failed
//! sync the kernel shows a commit that is not on the disk and never will be, and a process that
//! builds on it acknowledges what a power loss takes back.

use super::campaign::{empty_store, judge, number, run, told, Folder, Run};
use super::dice::Dice;
use super::disk::{Disk, Entry, Fault, How, Kind, Mark};
use super::images::{judge_probed, known_at};
use super::power::image;
use super::truth::{Truth, Truths};
use super::workload::{probe, workload, Size, Step};
use stepwell_core::store::sqlite::SqliteStore;
use stepwell_core::store::Store;

const WAYS: [(How, bool); 6] = [
    (How::Io, false),
    (How::Io, true),
    (How::Short, false),
    (How::Full, false),
    (How::Full, true),
    (How::Read, false),
];

/// Workloads of which each operation fails in turn, when nobody asks for more.
const WORKLOADS: u64 = 1;
/// Operations of a large workload that fail, of each way.
const OF_LARGE: u64 = 4;

#[test]
fn failing_operations_poison_the_store_and_lose_nothing_acknowledged() {
    let seed = number("STEPWELL_SEED", 1);
    let mut tally = Tally::default();
    for seed in seed..seed + number("STEPWELL_WORKLOADS", WORKLOADS) {
        let mut bench = Bench::new(seed, Size::Tiny);
        for (way, (how, lasting)) in WAYS.into_iter().enumerate() {
            for at in 1..=bench.count(how) {
                bench.fail(way as u64, Fault { at, how, lasting }, &mut tally);
            }
        }
    }
    println!("from seed {seed}: {tally:?}");
    if std::env::var("STEPWELL_ONLY").is_err() {
        assert!(
            tally.commits > 100 && tally.opens > 20 && tally.closes > 20 && tally.holes > 20,
            "{tally:?}"
        );
    }
}

#[test]
fn failing_checkpoints_of_the_store_itself_poison_it_too() {
    let seed = number("STEPWELL_SEED", 1);
    let mut tally = Tally::default();
    let mut bench = Bench::new(seed, Size::Large);
    let mut dice = Dice::new(seed, 7);
    for (way, (how, lasting)) in WAYS.into_iter().enumerate() {
        let count = bench.count(how);
        for _ in 0..OF_LARGE * number("STEPWELL_WORKLOADS", 1) {
            let at = 1 + dice.below(count as usize) as u64;
            bench.fail(way as u64, Fault { at, how, lasting }, &mut tally);
        }
    }
    println!("from seed {seed}: {tally:?}");
    if std::env::var("STEPWELL_ONLY").is_err() {
        assert!(tally.maintains > 0, "{tally:?}");
    }
}

/// Where the errors came out.
#[derive(Debug, Default)]
struct Tally {
    runs: u64,
    commits: u64,
    opens: u64,
    maintains: u64,
    closes: u64,
    /// Nobody was told: `SQLite` needs nothing of what failed.
    untold: u64,
    /// A sync failed, so what a power loss leaves after a restart was not judged.
    holes: u64,
}

impl Tally {
    fn note(&mut self, ran: &Run) {
        self.runs += 1;
        let count = match ran.error.as_ref().map(|(doing, _)| *doing) {
            Some("commit") => &mut self.commits,
            Some("open") => &mut self.opens,
            Some("maintain") => &mut self.maintains,
            Some("close") => &mut self.closes,
            Some(other) => panic!("{other}"),
            None => &mut self.untold,
        };
        *count += 1;
    }
}

struct Bench {
    seed: u64,
    steps: Vec<Step>,
    truths: Truths,
    folder: Folder,
    after: Folder,
}

impl Bench {
    fn new(seed: u64, size: Size) -> Self {
        let mut steps = workload(size, Dice::new(seed, 0));
        // What fails another program is not told to the store.
        steps.retain(|it| !matches!(it, Step::Fold(_) | Step::Close));
        steps.insert(steps.len() / 2, Step::Reopen);
        steps.push(Step::Close);
        Self {
            seed,
            truths: Truths::of(&steps),
            steps,
            folder: Folder::new(),
            after: Folder::new(),
        }
    }

    /// How many operations there are that can fail so.
    fn count(&mut self, how: How) -> u64 {
        let at = u64::MAX;
        let fault = Fault {
            at,
            how,
            lasting: false,
        };
        let (disk, ran) = self.run(fault);
        disk.leave();
        assert!(ran.error.is_none(), "{:?}", ran.error);
        disk.count()
    }

    fn run(&mut self, fault: Fault) -> (std::sync::Arc<Disk>, Run) {
        self.folder.fill(empty_store());
        let disk = Disk::watch(&self.folder.path(), empty_store());
        disk.plan(Some(fault));
        let ran = run(&self.folder.database(), &disk, &self.steps, &self.truths);
        (disk, ran)
    }

    fn fail(&mut self, way: u64, fault: Fault, tally: &mut Tally) {
        let number = way * 1_000_000 + fault.at;
        let only = super::campaign::number("STEPWELL_ONLY", number);
        if only == number {
            told("failing", self.seed, number, || {
                self.fail_one(fault, number, tally);
            });
        }
    }

    fn fail_one(&mut self, fault: Fault, number: u64, tally: &mut Tally) {
        let mut dice = Dice::new(self.seed, number);
        let (disk, ran) = self.run(fault);
        let failed = disk.failed();
        disk.plan(None);
        assert!(!failed.is_empty(), "{fault:?} did not come to pass");
        tally.note(&ran);
        if std::env::var("STEPWELL_ONLY").is_ok() {
            println!("{fault:?}: {failed:?}, {ran:?}");
        }
        if ran.error.is_none() {
            // A WAL that stays though it was folded back is no harm. A disk that is full for a
            // moment while the store folds or closes is tried again.
            let again = fault.how == How::Full && !fault.lasting;
            let harmless = |it: &Kind| matches!(it, Kind::Delete) || again;
            assert!(
                failed.iter().all(harmless),
                "{fault:?} was not reported: {failed:?}"
            );
        }
        let log = disk.log();
        let (_, _, boot) = known_at(&log, log.len());
        self.after
            .fill(&image(empty_store(), &log, log.len(), &mut dice));
        judge(&self.after, &mut self.truths, ran.allowed(), boot, true);
        if failed.contains(&Kind::Sync) && std::env::var("STEPWELL_HOLES").is_err() {
            // Not promised: see "What it does not show" in docs/reliability.md.
            disk.leave();
            tally.holes += 1;
            return;
        }
        self.go_on(&disk, &ran, boot, &mut dice);
    }

    /// A new process opens the files as they are, commits, and then the power fails.
    fn go_on(&mut self, disk: &Disk, ran: &Run, boot: u64, dice: &mut Dice) {
        let path = self.folder.database();
        let mut store =
            SqliteStore::open(&path, "faults").unwrap_or_else(|it| panic!("open: {it}"));
        assert!(store.boot() > boot, "boot number {boot} comes again");
        disk.mark(Mark::Opened(store.boot()));
        let is = Truth::read(&mut store).unwrap_or_else(|it| panic!("read: {it}"));
        let found = ran.allowed().find(|it| self.truths.after(*it).truth == is);
        let found = found.unwrap_or_else(|| panic!("something else is there: {ran:?}"));
        let _ = store.commit(&probe()).expect("it accepts a commit");
        drop(store);
        disk.leave();
        let log: Vec<Entry> = disk.log();
        let (_, _, boot) = known_at(&log, log.len());
        self.after
            .fill(&image(empty_store(), &log, log.len(), dice));
        judge_probed(&self.after, &mut self.truths, found, 1..=1, boot);
    }
}
