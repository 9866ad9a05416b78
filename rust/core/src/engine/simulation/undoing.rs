//! Bodies that undo what their instances did (L8), as Python runs them.
//!
//! One that is to undo ends what runs of it, and leaves. Then the instance is started once more, and
//! undoes the steps that had begun, one at a time, those that began last first; that an undo begins is
//! recorded before it does. The first that gives up ends it.

use std::rc::Rc;

use rustc_hash::FxHashSet;

use super::bodies::{main_operation, Past, Running};
use super::program::{Act, Program};
use super::world::World;
use crate::codes::TERMINATED;
use crate::history::{Kind, Operation, Record, Verdict};
use crate::ids::InstanceNo;
use crate::lifecycle::Status;
use crate::note::Start;
use crate::submission::{Speech, Verb};
use crate::undo::Undo;

/// What the attempt of a step is recorded with of which nobody knows what it came to.
const NOTHING: &[u8] = b"\xa0";

/// What is left to undo.
#[derive(Debug)]
pub(super) struct Undoing {
    /// Why, as it is recorded, and how the instance ends.
    cause: Box<[u8]>,
    end: Status,
    /// What undoes the steps that are left; the last is the next.
    left: Vec<Operation>,
    /// Attempts of the next that were made, and whether the present one is recorded.
    attempts: u32,
    has_begun: bool,
    /// What it waits for: a delay or a ticket.
    awaits: Option<u64>,
    /// The next has given up, or is to when that is recorded.
    gives_up: bool,
    /// How many there are is recorded.
    is_planned: bool,
}

/// Returns what undoes a step.
pub(super) fn undo_of(step: &Operation) -> Operation {
    Operation {
        kind: Kind::Undo,
        ..step.clone()
    }
}

/// Whether something undoes a step: two in three.
pub(super) fn has_undo(step: &Operation) -> bool {
    let sum = step.count + step.branch.len() as u32;
    step.kind == Kind::Do && !sum.is_multiple_of(3)
}

/// Whether a record says that an instance is to undo its steps, and why.
pub(super) fn is_intent(record: &Record) -> bool {
    let of = &record.operation;
    of.kind == Kind::Undo && of.name.is_empty() && record.verdict == Verdict::Started
}

fn is_step(act: Act) -> bool {
    matches!(act, Act::Step | Act::Save | Act::Flaky(_) | Act::Race(_))
}

impl Program {
    /// Whether anything of it can be undone.
    pub(super) fn can_undo(&self) -> bool {
        let mut acts = self.acts().filter(|it| is_step(it.2));
        acts.any(|(strand, at, act)| has_undo(&main_operation(act, strand, at)))
    }
}

impl Undoing {
    /// Returns what a body that is started has to undo, if it is started for that.
    pub(super) fn of(start: &Start) -> Option<Self> {
        let records = || start.records.iter().map(|it| &it.record);
        let intent = records().find(|it| is_intent(it))?;
        let mut steps = Vec::new();
        for record in records().filter(|it| has_undo(&it.operation)) {
            if record.verdict != Verdict::Refused && !steps.contains(&record.operation) {
                steps.push(record.operation.clone());
            }
        }
        let came_to = |undo: &Operation, verdict| {
            let mut of = records().filter(|it| it.operation == *undo);
            of.any(|it| it.verdict == verdict)
        };
        let mut left: Vec<_> = steps.iter().map(undo_of).collect();
        left.retain(|it| !came_to(it, Verdict::Done));
        let next = left.last();
        let of_next = || records().filter(|it| next == Some(&it.operation));
        let made = of_next().filter(|it| it.verdict != Verdict::Started);
        let attempts = made.map(|it| it.attempt).max().unwrap_or_default();
        let wait = start.waits.iter().find(|it| next == Some(&it.operation));
        Some(Self {
            cause: intent.payload.clone().unwrap_or_default(),
            end: match intent.event_type.as_deref() {
                Some(TERMINATED) => Status::Terminated,
                _ => Status::Errored,
            },
            attempts,
            has_begun: of_next().any(|it| it.attempt > attempts),
            awaits: wait.map(|it| it.id),
            gives_up: left.iter().any(|it| came_to(it, Verdict::Failed)),
            is_planned: records().any(|it| it.verdict == Verdict::Saved && is_whole(&it.operation)),
            left,
        })
    }

    fn is_over(&self) -> bool {
        self.left.is_empty() || self.gives_up
    }
}

/// Whether an operation is the undoing itself, and not what undoes a step.
fn is_whole(it: &Operation) -> bool {
    it.kind == Kind::Undo && it.name.is_empty()
}

impl World {
    /// Somebody ends an instance, in whatever state, when it has undone what it did.
    pub(super) fn undo_one(&mut self) -> bool {
        self.act_on_one(|_| true, Verb::Undo("somebody".into()))
    }

    /// What a crash cut short may have done something: it is undone too. And an undo that was cut
    /// short was an attempt.
    pub(super) fn take_up_undoing(&mut self, no: InstanceNo, past: &Past, interrupted: bool) {
        if interrupted && !self.undoing(no).is_planned {
            for step in self.cut_steps(no, past) {
                let payload = Some(NOTHING.into());
                self.record_undoing(no, (step.clone(), 1), Verdict::Abandoned, payload);
                if has_undo(&step) {
                    self.undoing(no).left.push(undo_of(&step));
                }
            }
        }
        if self.undoing(no).has_begun && self.undoing(no).awaits.is_none() {
            self.ends_attempt(no, Verdict::Interrupted);
            let undoing = self.undoing(no);
            (undoing.attempts, undoing.has_begun) = (undoing.attempts + 1, false);
        }
        if interrupted {
            self.submit(self.life.bodies[&no].by.says(Speech::TakenUp));
        }
    }

    /// Returns steps that may have been under way without a record.
    fn cut_steps(&self, no: InstanceNo, past: &Past) -> Vec<Operation> {
        let program = Rc::clone(&self.life.bodies[&no].program);
        let mut strands = FxHashSet::default();
        let mut cut = Vec::new();
        for (strand, at, act) in program.acts() {
            let main = main_operation(act, strand, at);
            let passed = past.outcomes.contains_key(&main);
            if !passed && strands.insert(strand) && is_step(act) && !past.has_tried(&main) {
                cut.push(main);
            }
        }
        cut
    }

    fn undoing(&mut self, no: InstanceNo) -> &mut Undoing {
        let body = self.life.bodies.get_mut(&no).expect("it is there");
        body.undoing.as_mut().expect("it undoes")
    }

    /// What runs of a body that is to undo ends, and it leaves.
    pub(super) fn leave_to_undo(&mut self, no: InstanceNo) -> bool {
        let body = &self.life.bodies[&no];
        let runs =
            |it: &usize| body.act(*it).is_some_and(is_step) && body.strands[*it].awaits.is_none();
        let running = (0..body.strands.len()).find(runs);
        if let Some(strand) = running.filter(|_| self.dice.once_in(2)) {
            let mut record = self.record(no, strand, Verdict::Abandoned);
            record.payload = Some(NOTHING.into());
            let ticket = self.ticket();
            let by = self.life.bodies[&no].by;
            self.submit(by.says(Speech::Record(ticket, record)));
        }
        let body = self.life.bodies.get_mut(&no).expect("it is there");
        body.over = true;
        let by = body.by;
        self.submit(by.says(Speech::Undoes(None)));
        true
    }

    /// A body that undoes does one thing; returns false if it can do nothing.
    pub(super) fn undo(&mut self, no: InstanceNo) -> bool {
        let undoing = self.undoing(no);
        if undoing.awaits.is_some() {
            return false;
        }
        if !std::mem::replace(&mut undoing.is_planned, true) {
            let whole = Operation {
                kind: Kind::Undo,
                branch: "".into(),
                name: "".into(),
                key: None,
                count: 0,
            };
            self.record_undoing(
                no,
                (whole, 1),
                Verdict::Saved,
                Some(b"many".as_slice().into()),
            );
        } else if undoing.is_over() {
            let how = if undoing.gives_up {
                Undo::Failed
            } else {
                Undo::Complete
            };
            let undone = Speech::Undone(how, undoing.end, undoing.cause.clone());
            let body = self.life.bodies.get_mut(&no).expect("it is there");
            body.over = true;
            let by = body.by;
            self.submit(by.says(undone));
        } else if !std::mem::replace(&mut undoing.has_begun, true) {
            self.ends_attempt(no, Verdict::Started);
        } else {
            let verdict = match self.dice.roll(8) {
                0 => Verdict::Failed,
                1 | 2 => Verdict::AttemptFailed,
                _ => Verdict::Done,
            };
            let awaits = self.ends_attempt(no, verdict);
            let undoing = self.undoing(no);
            undoing.awaits = Some(awaits);
            undoing.gives_up = verdict == Verdict::Failed;
        }
        true
    }

    /// Records what the next attempt of an undo is at, or came to; returns what is to be waited for.
    fn ends_attempt(&mut self, no: InstanceNo, verdict: Verdict) -> u64 {
        let undoing = self.undoing(no);
        let next = undoing.left.last().expect("there is one").clone();
        let attempt = undoing.attempts + 1;
        if verdict != Verdict::AttemptFailed {
            return self.record_undoing(no, (next, attempt), verdict, None);
        }
        let mut record = self.undo_record(no, (next, attempt), verdict, None);
        record.moment = Some(self.now + self.dice.roll(6) as i64);
        let number = self.life.sequence.draw();
        let by = self.life.bodies[&no].by;
        self.submit(by.says(Speech::Retry(number, Box::new(record))));
        number
    }

    fn record_undoing(
        &mut self,
        no: InstanceNo,
        of: (Operation, u32),
        verdict: Verdict,
        payload: Option<Box<[u8]>>,
    ) -> u64 {
        let record = self.undo_record(no, of, verdict, payload);
        let ticket = self.ticket();
        let by = self.life.bodies[&no].by;
        self.submit(by.says(Speech::Record(ticket, record)));
        ticket
    }

    fn undo_record(
        &self,
        no: InstanceNo,
        (operation, attempt): (Operation, u32),
        verdict: Verdict,
        payload: Option<Box<[u8]>>,
    ) -> Record {
        Record {
            operation,
            attempt,
            verdict,
            started_at: self.now,
            at: 0,
            begun: self.life.bodies[&no].begun(),
            erases: None,
            moment: None,
            event: None,
            event_type: None,
            payload,
        }
    }

    /// What an undo waits for is there.
    pub(super) fn undo_goes_on(&mut self, no: InstanceNo, number: u64) {
        let undoing = self.undoing(no);
        if undoing.awaits != Some(number) {
            return;
        }
        undoing.awaits = None;
        if number < crate::limits::FIRST_TICKET {
            // Its delay is over.
            (undoing.attempts, undoing.has_begun) = (undoing.attempts + 1, false);
            return;
        }
        let gives_up = undoing.gives_up;
        let over = undoing.left.last().expect("it was the next").clone();
        if !gives_up {
            undoing.left.pop();
            (undoing.attempts, undoing.has_begun) = (0, false);
        }
        let by = self.life.bodies[&no].by;
        self.tell(by, over);
    }
}

impl Running {
    /// Whether it undoes, or is to.
    pub(super) fn is_undoing(&self) -> bool {
        self.to_undo || self.undoing.is_some()
    }
}
