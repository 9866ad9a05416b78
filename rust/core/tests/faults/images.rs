//! Power loss: whatever a disk leaves, what was acknowledged is there, and nothing is there in
//! part.

use std::sync::atomic::{AtomicU64, Ordering};

use super::campaign::{empty_store, integrity, judge, number, run, told, Folder};
use super::dice::Dice;
use super::disk::{Disk, Entry, Files, Mark};
use super::power::image;
use super::truth::{Truth, Truths};
use super::workload::{probe, workload, Size};
use stepwell_core::store::sqlite::SqliteStore;
use stepwell_core::store::Store;

/// Images judged when nobody asks for more.
const IMAGES: u64 = 10_000;
/// Images of one workload.
const EACH: u64 = 100;
/// One image in so many is a power loss in the recovery from another.
const AGAIN: usize = 4;
const THREADS: u64 = 2;

#[test]
fn images_of_a_power_loss_hold_what_was_acknowledged() {
    let images = number("STEPWELL_IMAGES", IMAGES);
    let seed = number("STEPWELL_SEED", 1);
    let only = std::env::var("STEPWELL_ONLY").map(|_| number("STEPWELL_ONLY", 0));
    let workloads = if only.is_ok() {
        1
    } else {
        images.div_ceil(EACH)
    };
    let judged = Judged::default();
    std::thread::scope(|threads| {
        for thread in 0..THREADS {
            let (judged, only) = (&judged, only.clone().ok());
            threads.spawn(move || {
                for seed in (seed..seed + workloads).filter(|it| it % THREADS == thread) {
                    judge_workload(seed, only, judged);
                }
            });
        }
    });
    println!("{images} images of {workloads} workloads from seed {seed}: {judged:?}");
    // The model of the disk must be one that can lose and tear: else nothing was tried.
    if only.is_err() && workloads > 10 {
        assert!(judged.lost.load(Ordering::Relaxed) > images / 50);
        assert!(judged.kept.load(Ordering::Relaxed) > images / 50);
        assert!(judged.again.load(Ordering::Relaxed) > images / 10);
    }
}

/// What came out.
#[derive(Debug, Default)]
struct Judged {
    /// The batch in flight was not there.
    lost: AtomicU64,
    /// It was.
    kept: AtomicU64,
    /// No batch was in flight.
    quiet: AtomicU64,
    /// Images of a recovery.
    again: AtomicU64,
    /// Operations on files that were recorded.
    operations: AtomicU64,
}

fn judge_workload(seed: u64, only: Option<u64>, judged: &Judged) {
    let large = seed.is_multiple_of(40);
    let size = if large { Size::Large } else { Size::Small };
    let steps = workload(size, Dice::new(seed, 0));
    let mut truths = Truths::of(&steps);
    let folder = Folder::new();
    let base = empty_store();
    folder.fill(base);
    let disk = Disk::watch(&folder.path(), base);
    let ran = run(&folder.database(), &disk, &steps, &truths);
    disk.leave();
    assert!(ran.error.is_none(), "seed {seed}: {:?}", ran.error);
    let log = disk.log();
    judged
        .operations
        .fetch_add(log.len() as u64, Ordering::Relaxed);
    for number in (0..EACH).filter(|it| only.is_none_or(|only| only == *it)) {
        told("images", seed, number, || {
            let dice = Dice::new(seed, number + 1);
            judge_image(&folder, base, &log, &mut truths, dice, judged);
        });
    }
}

/// What had been acknowledged, begun and opened before this entry.
pub fn known_at(log: &[Entry], cut: usize) -> (usize, usize, u64) {
    let (mut acked, mut begun, mut boot) = (0, 0, 0);
    for entry in &log[..cut] {
        match entry {
            Entry::Mark(Mark::Acked(it)) => acked = *it,
            Entry::Mark(Mark::Begun(it)) => begun = *it,
            Entry::Mark(Mark::Opened(it)) => boot = *it,
            _ => {}
        }
    }
    (acked, begun, boot)
}

fn judge_image(
    folder: &Folder,
    base: &Files,
    log: &[Entry],
    truths: &mut Truths,
    mut dice: Dice,
    judged: &Judged,
) {
    let cut = dice.below(log.len() + 1);
    let mut files = image(base, log, cut, &mut dice);
    leave_behind(&mut files, &mut dice);
    let (acked, begun, boot) = known_at(log, cut);
    println_if_alone(cut, log);
    folder.fill(&files);
    if dice.below(AGAIN) == 0 {
        judge_recovery(folder, truths, (acked, begun, boot), &mut dice);
        judged.again.fetch_add(1, Ordering::Relaxed);
        return;
    }
    let found = judge(folder, truths, acked..=begun, boot, dice.percent(30));
    let count = match found {
        _ if acked == begun => &judged.quiet,
        it if it == acked => &judged.lost,
        _ => &judged.kept,
    };
    count.fetch_add(1, Ordering::Relaxed);
    if dice.percent(20) {
        folder.fill(&files);
        integrity(&folder.database());
    }
}

/// What no log tells of: the lock file and the wal-index, in any state.
fn leave_behind(files: &mut Files, dice: &mut Dice) {
    if dice.percent(30) {
        let name = format!("{}-shm", super::campaign::DATABASE);
        files.insert(name, dice.bytes(32 << 10));
    }
    if dice.percent(30) {
        let whole = b"stepwell engine\npid 7\nsince 1\nname faults\n".to_vec();
        let lock = match dice.below(3) {
            0 => Vec::new(),
            1 => vec![0; whole.len()],
            _ => whole,
        };
        files.insert(format!("{}.lock", super::campaign::DATABASE), lock);
    }
}

/// Recovers an image on a watched folder, commits the probe, closes; cuts that, and judges again.
fn judge_recovery(
    folder: &Folder,
    truths: &mut Truths,
    (acked, begun, boot): (usize, usize, u64),
    dice: &mut Dice,
) {
    let watched = folder.durable();
    let disk = Disk::watch(&folder.path(), &watched);
    let path = folder.database();
    let mut store = SqliteStore::open(&path, "faults").unwrap_or_else(|it| panic!("open: {it}"));
    assert!(store.boot() > boot, "boot number {boot} comes again");
    disk.mark(Mark::Opened(store.boot()));
    let is = Truth::read(&mut store).unwrap_or_else(|it| panic!("read: {it}"));
    let Some(found) = (acked..=begun).find(|it| truths.after(*it).truth == is) else {
        let difference = is.difference(&truths.after(begun).truth);
        panic!("batches {acked} to {begun} may be there\n{difference}");
    };
    disk.mark(Mark::Begun(1));
    let _ = store.commit(&probe()).expect("it accepts a commit");
    disk.mark(Mark::Acked(1));
    if dice.percent(70) {
        Box::new(store).close().expect("it closes");
    } else {
        drop(store);
    }
    disk.leave();
    let log = disk.log();
    let cut = dice.below(log.len() + 1);
    let (acked, begun, again) = known_at(&log, cut);
    folder.fill(&image(&watched, &log, cut, dice));
    judge_probed(folder, truths, found, acked..=begun, boot.max(again));
}

/// Judges a folder that has so many batches and, perhaps, the probe.
pub fn judge_probed(
    folder: &Folder,
    truths: &mut Truths,
    found: usize,
    probes: std::ops::RangeInclusive<usize>,
    boot: u64,
) {
    let path = folder.database();
    let mut store = SqliteStore::open(&path, "faults").unwrap_or_else(|it| panic!("open: {it}"));
    assert!(store.boot() > boot, "boot number {boot} comes again");
    let is = Truth::read(&mut store).unwrap_or_else(|it| panic!("read: {it}"));
    let known = truths.after(found);
    let states = [&known.truth, &known.after];
    assert!(
        probes.clone().any(|it| *states[it] == is),
        "the second power loss left something else: probe {probes:?} on {found}\n{}",
        is.difference(states[*probes.end()])
    );
    Box::new(store).close().expect("it closes");
    integrity(&path);
}

fn println_if_alone(cut: usize, log: &[Entry]) {
    if std::env::var("STEPWELL_ONLY").is_err() {
        return;
    }
    println!("cut before {cut} of {}:", log.len());
    for (at, entry) in log
        .iter()
        .enumerate()
        .take(cut)
        .skip(cut.saturating_sub(24))
    {
        let text = match entry {
            Entry::Write { file, at, bytes } => format!("write {file} {at}+{}", bytes.len()),
            other => format!("{other:?}"),
        };
        println!("  {at} {text}");
    }
}
