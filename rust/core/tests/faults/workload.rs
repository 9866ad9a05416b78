//! Random workloads: what an engine asks of its store, and what may happen beside it.
//!
//! Small ones have many little batches with payloads from nothing to a few pages, checkpoints by
//! another program (`sqlite3` has the right to fold the WAL), reopenings and kills. Large ones
//! grow the WAL until the store folds it itself, and free enough pages for its vacuum.

use stepwell_core::history::{Kind, Operation, Record, Verdict};
use stepwell_core::lifecycle::Status;
use stepwell_core::store::{Ended, NewInstance, Op, Transition};
use stepwell_core::wait::{Approval, ApprovalStatus, Event, Source, Wait};

use super::dice::Dice;

pub const APPROVALS: [&str; 3] = ["orders/1#ship#1", "orders/2#ship#1", "early"];
pub const METAS: [&str; 4] = ["batch", "limits", "probe", "boot"];
pub const DEDUPS: [&str; 3] = ["a", "b", "c"];
/// Values of the attribute by which instances are looked for.
pub const TEAMS: u8 = 3;
const WORKFLOWS: [&str; 2] = ["orders", "refunds"];

#[derive(Debug, Clone)]
pub enum Step {
    Commit(Vec<Op>),
    Maintain,
    /// Another program folds the WAL back, in this mode.
    Fold(&'static str),
    /// Close, open.
    Reopen,
    /// What a kill leaves, opened.
    Kill,
    /// Close; nothing follows.
    Close,
}

/// How much happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Size {
    /// For failing each operation in turn.
    Tiny,
    Small,
    /// Megabytes.
    Large,
}

struct Draft {
    dice: Dice,
    size: Size,
    instances: u64,
    events: u64,
    batches: u32,
    now: i64,
}

/// Returns the steps of a workload.
pub fn workload(size: Size, mut dice: Dice) -> Vec<Step> {
    let count = match size {
        Size::Tiny => 8,
        Size::Small => 20 + dice.below(30),
        Size::Large => 12,
    };
    let mut draft = Draft {
        dice,
        size,
        instances: 0,
        events: 0,
        batches: 0,
        now: 1_000,
    };
    let mut steps = vec![Step::Commit((0..3).map(|_| draft.create()).collect())];
    if size == Size::Large {
        steps.extend(draft.grow_and_shrink());
    }
    for _ in 0..count {
        steps.push(Step::Commit(draft.batch()));
        steps.extend(draft.between());
    }
    if draft.dice.percent(70) {
        steps.push(Step::Close);
    }
    steps
}

/// The batch that a store must accept after a crash. It asks whether a `dedup_id` is known.
pub fn probe() -> Vec<Op> {
    let mut draft = Draft {
        dice: Dice::new(1, 1),
        size: Size::Small,
        instances: 900,
        events: 900,
        batches: 0,
        now: 9_000_000,
    };
    let mut batch = vec![draft.create(), Op::Meta("probe".into(), [1].into())];
    for dedup in DEDUPS {
        batch.push(draft.buffer(1, Some(dedup)));
    }
    for no in 1..=3 {
        batch.push(draft.append(no));
    }
    batch
}

impl Draft {
    fn between(&mut self) -> Vec<Step> {
        match self.dice.below(12) {
            0..=2 => vec![Step::Maintain],
            3 => vec![Step::Maintain, Step::Maintain],
            4 if self.size != Size::Large => {
                let mode = *self.dice.pick(&["PASSIVE", "FULL", "RESTART", "TRUNCATE"]);
                vec![Step::Fold(mode)]
            }
            5 if self.dice.percent(30) => vec![Step::Reopen],
            6 if self.dice.percent(50) => vec![Step::Kill],
            _ => Vec::new(),
        }
    }

    /// More than the WAL may hold; then most of it is given up, and the store is idle.
    fn grow_and_shrink(&mut self) -> Vec<Step> {
        let mut steps = vec![Step::Commit((0..20).map(|_| self.create()).collect())];
        for _ in 0..7 {
            let batch = (1..=20).map(|no| {
                let payload = self.dice.bytes(48 << 10);
                self.change(no, Status::Waiting, Some(payload))
            });
            steps.push(Step::Commit(batch.collect()));
            steps.push(Step::Maintain);
        }
        let mut batch: Vec<Op> = (1..=20)
            .map(|no| self.change(no, Status::Running, None))
            .collect();
        batch.push(self.count());
        steps.push(Step::Commit(batch));
        steps.extend((0..4).map(|_| Step::Maintain));
        steps
    }

    fn batch(&mut self) -> Vec<Op> {
        let mut batch = Vec::new();
        if self.dice.percent(75) {
            batch.push(self.count());
        }
        for _ in 0..=self.dice.below(6) {
            let op = self.op();
            batch.push(op);
        }
        // A `dedup_id` cannot be read; with a count beside it, one sees whether the batch is there.
        let unseen = |op: &Op| matches!(op, Op::Seen(..) | Op::Buffer(_, _, Some(_)));
        let counted = matches!(&batch[0], Op::Meta(name, _) if &**name == "batch");
        if batch.iter().any(unseen) && !counted {
            batch.push(self.count());
        }
        batch
    }

    fn count(&mut self) -> Op {
        self.batches += 1;
        Op::Meta("batch".into(), self.batches.to_le_bytes().into())
    }

    fn op(&mut self) -> Op {
        let no = 1 + self.dice.below(self.instances as usize) as u64;
        match self.dice.below(26) {
            0..=2 => self.create(),
            3 => self.child(no),
            4..=10 => self.append(no),
            11..=12 => Op::Open(no, 1, self.wait()),
            13 => Op::Close(no, 1 + self.dice.below(4) as u64),
            14..=15 => {
                let dedup = self.dice.percent(60).then(|| *self.dice.pick(&DEDUPS));
                self.buffer(no, dedup)
            }
            16 => Op::Take(no, 1 + self.dice.below(1 + self.events as usize) as u64),
            17 => Op::Seen(no, (*self.dice.pick(&DEDUPS)).into()),
            18..=20 => {
                let status = Status::ALL[self.dice.below(9)];
                let payload = self.dice.percent(60).then(|| self.payload());
                self.change(no, status, payload)
            }
            21 => Op::Progress(no, self.payload().into()),
            22 => self.approval(no),
            24 => {
                let value = self.dice.below(24) as u8;
                Op::Attributes(no, 1, [0xa1, 0x61, b'a', value].into())
            }
            23 => self.ended(),
            _ => {
                let value = self.dice.below(40);
                Op::Meta("limits".into(), self.dice.bytes(value).into())
            }
        }
    }

    fn now(&mut self) -> i64 {
        self.now += 1 + self.dice.below(1_000) as i64;
        self.now
    }

    /// Mostly small, sometimes a whole page and more.
    fn payload(&mut self) -> Vec<u8> {
        let len = match self.dice.below(20) {
            0 => 0,
            1..=13 => self.dice.below(120),
            14..=17 => self.dice.below(1_500),
            _ => self.dice.below(12 << 10),
        };
        self.dice.bytes(len)
    }

    /// A map that can be indexed, or bytes that cannot.
    fn attributes(&mut self) -> Box<[u8]> {
        if self.dice.percent(30) {
            return self.payload().into();
        }
        let team = self.dice.below(usize::from(TEAMS)) as u8;
        [&b"\xa1\x64team"[..], &[team]].concat().into()
    }

    fn new_instance(&mut self) -> NewInstance {
        self.instances += 1;
        let running = self.dice.percent(50);
        NewInstance {
            no: self.instances,
            incarnation: 1,
            namespace: "default".into(),
            workflow: (*self.dice.pick(&WORKFLOWS)).into(),
            version: self.dice.below(3).to_string().into(),
            // Some ids are taken.
            id: format!("id-{}", self.dice.below(40)).into(),
            params: self.dice.percent(70).then(|| self.payload().into()),
            attributes: self.dice.percent(20).then(|| self.attributes()),
            priority: self.dice.below(5) as i8 - 2,
            created_at: self.now(),
            start_at: self.dice.percent(20).then_some(7),
            status: if running {
                Status::Running
            } else {
                Status::Queued
            },
            parent: None,
            called: false,
            format: 1,
            seed: None,
            keep: None,
            schedule: None,
        }
    }

    fn ended(&mut self) -> Op {
        Op::Ended(Box::new(Ended {
            namespace: "default".into(),
            workflow: (*self.dice.pick(&WORKFLOWS)).into(),
            counts: [(); 3].map(|()| self.dice.below(1_000) as u64),
            versions: vec![("1".into(), [(); 3].map(|()| self.dice.below(1_000) as u64))],
        }))
    }

    fn create(&mut self) -> Op {
        Op::Create(self.new_instance().into())
    }

    fn child(&mut self, parent: u64) -> Op {
        let mut child = self.new_instance();
        child.parent = Some(parent);
        child.called = self.dice.percent(50);
        let record = self.record();
        Op::CreateChildren(vec![child], parent, 1, record.into())
    }

    fn operation(&mut self) -> Operation {
        Operation {
            kind: Kind::from_code(self.dice.below(11) as u8).expect("one of eleven"),
            branch: (*self.dice.pick(&["", "n/1", "n/1/2"])).into(),
            name: (*self.dice.pick(&["charge", "ship", "mail"])).into(),
            key: self.dice.percent(20).then(|| "key".into()),
            count: 1 + self.dice.below(3) as u32,
        }
    }

    fn record(&mut self) -> Record {
        let event = self.dice.percent(10);
        Record {
            operation: self.operation(),
            attempt: self.dice.below(4) as u32,
            verdict: Verdict::from_code(self.dice.below(7) as u8).expect("one of seven"),
            started_at: self.now(),
            at: self.now(),
            begun: None,
            erases: None,
            moment: self.dice.percent(20).then(|| self.now()),
            event: event.then_some(5),
            event_type: event.then(|| "paid".into()),
            payload: self.dice.percent(80).then(|| self.payload().into()),
        }
    }

    fn append(&mut self, no: u64) -> Op {
        // Some come too late, for an incarnation that is not the present one.
        let incarnation = if self.dice.percent(4) { 2 } else { 1 };
        Op::Append(no, incarnation, self.record())
    }

    fn wait(&mut self) -> Wait {
        let source = match self.dice.below(5) {
            0 => Source::Timer,
            1 => Source::Retry(Some("ValueError".into())),
            2 => Source::Event(vec!["paid".into(), "sent".into()]),
            3 => Source::Approval((*self.dice.pick(&APPROVALS)).into()),
            _ => Source::Child(1),
        };
        // What only time ends has an end.
        let is_timer = matches!(source, Source::Timer | Source::Retry(_));
        let id = 1 + self.dice.below(4) as u64;
        let operation = self.operation();
        let opened_at = self.now();
        let until = self.dice.percent(70).then(|| self.now());
        Wait {
            begun: None,
            id,
            operation,
            source,
            opened_at,
            until: until.or(is_timer.then_some(opened_at)),
        }
    }

    fn buffer(&mut self, no: u64, dedup: Option<&str>) -> Op {
        self.events += 1;
        let event = Event {
            id: self.events,
            kind: (*self.dice.pick(&["paid", "sent"])).into(),
            payload: self.dice.percent(80).then(|| self.payload().into()),
            at: self.now(),
        };
        Op::Buffer(no, event, dedup.map(Into::into))
    }

    fn change(&mut self, no: u64, status: Status, payload: Option<Vec<u8>>) -> Op {
        let to = Transition {
            status,
            marked: status == Status::Running,
            recoveries: self.dice.below(3) as u32,
            reason: (status == Status::Blocked).then(|| "nondeterminism".into()),
            step: (status == Status::Blocked).then(|| "charge".into()),
            payload: payload.map(Into::into),
            undo: None,
            at: self.now(),
        };
        Op::Status(no, 1, to)
    }

    fn approval(&mut self, no: u64) -> Op {
        let status = *self.dice.pick(&[
            ApprovalStatus::Open,
            ApprovalStatus::Approved,
            ApprovalStatus::Rejected,
        ]);
        let approval = Approval {
            id: (*self.dice.pick(&APPROVALS)).into(),
            no,
            name: "ship".into(),
            detail: self.dice.percent(50).then(|| self.payload().into()),
            asked_at: Some(self.now()),
            until: None,
            status,
            decision: self.dice.percent(50).then(|| self.payload().into()),
            decided_at: self.dice.percent(50).then(|| self.now()),
            incarnation: 0,
        };
        Op::Approval(approval.into())
    }
}
