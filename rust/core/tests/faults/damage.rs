//! Damaged copies of good stores: a flipped bit, a file cut short, a page of zeroes, two pages
//! swapped; in the database or its WAL, of a store that was closed or killed.
//!
//! Such a copy is refused, or answers as before, or (damage to a WAL) as after fewer batches. Two
//! things are known to slip through, and are counted: rows without a checksum (instances, waits,
//! settings, names) and rows that are no longer found; and a page that lies free in the file and
//! comes back as it was. What has a checksum is never served as it never was: a record, a payload,
//! an event, an approval.

use std::collections::BTreeMap;
use std::rc::Rc;

use super::campaign::{empty_store, number, run, told, Folder, DATABASE};
use super::dice::Dice;
use super::disk::{Disk, Files};
use super::truth::{Instance, Known, Truth, Truths};
use super::workload::{workload, Size, Step};
use stepwell_core::store::sqlite::SqliteStore;
use stepwell_core::store::{Error, Payloads};

const COPIES: u64 = 4_000;
/// Copies of one store.
const EACH: u64 = 200;
const PAGE: usize = 4_096;
const FRAME: usize = PAGE + 24;
const WAL_HEADER: usize = 32;

#[test]
fn damaged_files_are_refused_or_harmless() {
    let seed = number("STEPWELL_SEED", 1);
    let copies = number("STEPWELL_COPIES", COPIES);
    let mut tally = BTreeMap::new();
    for seed in seed..seed + copies.div_ceil(EACH) {
        let mut good = Good::new(seed);
        for number in 0..EACH {
            if super::campaign::number("STEPWELL_ONLY", number) == number {
                told("damaged", seed, number, || {
                    let (damage, verdict) = good.damage(number);
                    let first = format!("e.g. seed {seed} number {number}");
                    tally.entry((damage, verdict)).or_insert((0, first)).0 += 1;
                });
            }
        }
    }
    let mut wrong = 0;
    for ((damage, verdict), (count, first)) in &tally {
        println!("{count:6} {damage} {verdict} {first}");
        wrong += if verdict.starts_with("WRONG") {
            *count
        } else {
            0
        };
    }
    assert!(wrong * 50 <= copies, "{wrong} of {copies} answer wrong");
}

/// A store without damage.
struct Good {
    seed: u64,
    files: Files,
    truths: Truths,
    folder: Folder,
}

impl Good {
    fn new(seed: u64) -> Self {
        let mut steps = workload(Size::Small, Dice::new(seed, 0));
        steps.retain(|it| !matches!(it, Step::Close));
        if seed.is_multiple_of(2) {
            steps.push(Step::Close);
        }
        let truths = Truths::of(&steps);
        let folder = Folder::new();
        folder.fill(empty_store());
        let disk = Disk::watch(&folder.path(), empty_store());
        let ran = run(&folder.database(), &disk, &steps, &truths);
        disk.leave();
        assert!(ran.error.is_none(), "seed {seed}: {:?}", ran.error);
        Self {
            seed,
            files: folder.durable(),
            truths,
            folder,
        }
    }

    /// Damages a copy and asks it everything. Returns what was done and what came out.
    fn damage(&mut self, number: u64) -> (String, String) {
        let mut dice = Dice::new(self.seed, number + 1);
        let mut files = self.files.clone();
        let names: Vec<String> = files.keys().cloned().collect();
        let name = dice.pick(&names).clone();
        let bytes = files.get_mut(&name).expect("it is there");
        let (start, unit) = if name == DATABASE {
            (0, PAGE)
        } else {
            (WAL_HEADER, FRAME)
        };
        let what = spoil(bytes, start, unit, &mut dice);
        let killed = if names.len() > 1 { "killed" } else { "closed" };
        let file = if name == DATABASE { "database" } else { "WAL" };
        let what = format!("{killed} {file}: {what}:");
        self.folder.fill(&files);
        (what, self.judge(file == "WAL"))
    }

    fn judge(&mut self, is_wal: bool) -> String {
        let read = SqliteStore::open(&self.folder.database(), "faults")
            .and_then(|mut store| Truth::read(&mut store));
        let is = match read {
            Ok(is) => is,
            Err(Error::Corrupt(_)) => return "refused as corrupt".to_owned(),
            Err(error @ (Error::Locked(_) | Error::Invalid(_))) => panic!("{error}"),
            Err(error) => {
                assert!(error.to_string().contains(DATABASE), "{error}");
                return "refused".to_owned();
            }
        };
        let all = self.truths.batches();
        if self.truths.after(all).truth == is {
            return "harmless".to_owned();
        }
        let prefix = is_wal && (0..all).any(|it| self.truths.after(it).truth == is);
        if prefix {
            return "a prefix".to_owned();
        }
        let known = self.truths.after(all);
        if std::env::var("STEPWELL_ONLY").is_ok() {
            println!("{}", is.difference(&known.truth));
        }
        let earlier: Vec<_> = (0..all).map(|it| self.truths.after(it)).collect();
        let parts = differences(&is, &known.truth, &earlier);
        let checked = parts.iter().find(|it| it.ends_with("changed"));
        assert_eq!(checked, None, "{}", is.difference(&known.truth));
        format!("WRONG {parts:?}")
    }
}

/// Does one thing to the bytes of a file.
fn spoil(bytes: &mut Vec<u8>, start: usize, unit: usize, dice: &mut Dice) -> &'static str {
    let len = bytes.len();
    let units = len.saturating_sub(start) / unit;
    if len == 0 {
        return "nothing";
    }
    match dice.below(10) {
        0..=5 => {
            bytes[dice.below(len)] ^= 1 << dice.below(8);
            "bit flipped"
        }
        6 => {
            bytes.truncate(dice.below(len));
            "cut"
        }
        7..=8 if units > 0 => {
            let at = start + unit * dice.below(units);
            bytes[at..at + unit].fill(0);
            "page zeroed"
        }
        _ if units > 1 => {
            let (a, b) = (dice.below(units), dice.below(units - 1));
            let b = if b >= a { b + 1 } else { b };
            let (low, high) = (start + unit * a.min(b), start + unit * a.max(b));
            let (left, right) = bytes.split_at_mut(high);
            left[low..low + unit].swap_with_slice(&mut right[..unit]);
            "pages swapped"
        }
        _ => "nothing",
    }
}

fn fields(payloads: &Payloads) -> [&Option<Box<[u8]>>; 4] {
    let Payloads {
        params,
        result,
        progress,
        attributes,
    } = payloads;
    [params, result, progress, attributes]
}

/// Which parts of two truths differ; those with a checksum are "older" if they once were so,
/// "changed" if they never were, or "missing".
fn differences(is: &Truth, should: &Truth, earlier: &[Rc<Known>]) -> Vec<&'static str> {
    let were = |what: &dyn Fn(&Truth) -> bool| earlier.iter().any(|it| what(&it.truth));
    let mut parts = Vec::new();
    let mut part = |name, differs: bool| {
        if differs && !parts.contains(&name) {
            parts.push(name);
        }
    };
    for one in &should.instances {
        let Some(other) = is.instances.iter().find(|it| it.row.no == one.row.no) else {
            part("instance missing", true);
            continue;
        };
        part("instance", one.row != other.row);
        part(
            "instance not found by name",
            one.found.is_some() != other.found.is_some(),
        );
        part("waits", one.waits != other.waits);
        let (a, b) = (fields(&one.payloads), fields(&other.payloads));
        for at in 0..a.len() {
            let differs = a[at] != b[at];
            let was = || {
                let same =
                    |it: &Instance| it.row.no == one.row.no && fields(&it.payloads)[at] == b[at];
                were(&|truth| truth.instances.iter().any(same))
            };
            part("payload missing", differs && b[at].is_none());
            part("payload older", differs && b[at].is_some() && was());
            part("payload changed", differs && b[at].is_some() && !was());
        }
        for it in other.history.iter().filter(|it| !one.history.contains(it)) {
            let was = were(&|truth| truth.instances.iter().any(|one| one.history.contains(it)));
            part("record older", was);
            part("record changed", !was);
        }
        part("records missing", one.history.len() != other.history.len());
    }
    let served = is.approvals.iter().map(|(_, it)| it);
    for it in served.chain(is.by_id.iter().flatten()) {
        let has = |truth: &Truth| truth.by_id.iter().flatten().any(|other| other == it);
        part("approval older", !has(should) && were(&has));
        part("approval changed", !has(should) && !were(&has));
    }
    part(
        "approvals",
        is.approvals != should.approvals || is.by_id != should.by_id,
    );
    let (a, b) = (&is.handed_over, &should.handed_over);
    for it in a.events.iter().filter(|it| !b.events.contains(it)) {
        let was = were(&|truth| truth.handed_over.events.contains(it));
        part("event older", was);
        part("event changed", !was);
    }
    part("events missing", a.events.len() != b.events.len());
    part("meta", is.meta != should.meta);
    part("teams", is.teams != should.teams);
    part("ended", is.ended != should.ended);
    part("waits handed over", a.waits != b.waits);
    part("instances handed over", a.instances != b.instances);
    parts
}
