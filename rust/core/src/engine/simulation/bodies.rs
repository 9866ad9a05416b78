//! Bodies, as Python runs them: every strand does one act after the other, and finds its place
//! again.
//!
//! A body does what its program says and knows only what it was told; it never looks at the truth.

use std::rc::Rc;

use rustc_hash::FxHashMap;

use super::program::{kind_of, operation, Account, Act, For, Program};
use super::renewing::run_of;
use super::said::Asked;
use super::undoing::Undoing;
use super::world::World;
use crate::history::{Kind, Operation, Record, Verdict};
use crate::ids::{InstanceNo, Seq, WaitId};
use crate::limits::FIRST_TICKET;
use crate::note::{Note, Settled, Start};
use crate::submission::{Body, Speech};

/// The wait beside a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    /// Not opened yet.
    Unborn,
    /// Open, with this number.
    Open(WaitId),
    /// Its outcome was told.
    Over,
}

/// Where a strand is.
#[derive(Debug)]
pub(super) struct Strand {
    pub(super) at: usize,
    /// Attempts of the act that were made.
    pub(super) attempts: u32,
    pub(super) side: Side,
    /// What it waits for: a wait or a ticket.
    pub(super) awaits: Option<u64>,
    pub(super) saved: bool,
}

/// A body in memory.
#[derive(Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "facts that vary independently of each other"
)]
pub(super) struct Running {
    pub(super) by: Body,
    pub(super) id: Rc<str>,
    pub(super) account: Account,
    pub(super) program: Rc<Program>,
    pub(super) strands: Vec<Strand>,
    /// The last record it was told of.
    seq: Seq,
    /// How many outcomes it was told.
    turns: u64,
    /// What was recorded when it started: a restart may keep what comes after what it erased.
    pub(super) past: Rc<Past>,
    /// The events that its waits took since: where that is recorded, and what they said.
    pub(super) took: FxHashMap<Operation, (Seq, Box<[u8]>)>,
    /// Waits that it opened and that nobody looks at again.
    pub(super) left: Vec<(WaitId, Operation)>,
    /// Which run of its instance it is.
    pub(super) run: u32,
    /// It has ended, or cannot go on: it does nothing any more.
    pub(super) over: bool,
    /// It has said that it only waits, and was told nothing since.
    pub(super) hushed: bool,
    /// It is to pause.
    pub(super) pauses: bool,
    /// It is to end what runs of it, and to leave: its instance undoes its steps.
    pub(super) to_undo: bool,
    /// It undoes them.
    pub(super) undoing: Option<Undoing>,
}

impl Running {
    /// Returns the act of a strand, if it has not ended.
    pub(super) fn act(&self, strand: usize) -> Option<Act> {
        let at = self.strands[strand].at;
        self.program.strands[strand].get(at).copied()
    }

    /// Returns what records say of when it began what it begins now. One in four was created before
    /// anybody counted.
    pub(super) fn begun(&self) -> Option<Seq> {
        (!self.by.no.is_multiple_of(4)).then_some(self.turns)
    }

    /// Whether every open operation is a wait, and there is one; of a body that is to go on as new
    /// while others of its branches wait, no.
    fn only_waits(&self) -> bool {
        if self.is_undoing() {
            return false; // what it waited for is closed, and between attempts it keeps its slot
        }
        let awaits = |it: &usize| self.strands[*it].awaits;
        let open: Vec<_> = (0..self.strands.len())
            .filter(|it| self.act(*it).is_some())
            .collect();
        let waits = |it| awaits(it).is_some_and(|it| it < FIRST_TICKET);
        !self.over && !self.has_ended() && !open.is_empty() && open.iter().all(waits)
    }

    fn has_ended(&self) -> bool {
        let strands = if self.continues() && self.program.hasty {
            1
        } else {
            self.strands.len()
        };
        (0..strands).all(|it| self.act(it).is_none())
    }
}

/// What a history says of each operation.
#[derive(Debug, Default)]
pub(super) struct Past {
    pub(super) outcomes: FxHashMap<Operation, Seq>,
    pub(super) took: FxHashMap<Operation, (Seq, Box<[u8]>)>,
    attempts: FxHashMap<Operation, (u32, bool)>,
    pub(super) open: FxHashMap<Operation, WaitId>,
}

impl Past {
    fn of(start: &Start) -> Self {
        let mut past = Self::default();
        for it in &start.records {
            let record = &it.record;
            if record.verdict.is_outcome() {
                past.outcomes.insert(record.operation.clone(), it.seq);
                if let (Some(_), Some(said)) = (record.taken(), &record.payload) {
                    let taken = (it.seq, said.clone());
                    past.took.insert(record.operation.clone(), taken);
                }
            } else {
                let known = past.attempts.entry(record.operation.clone()).or_default();
                known.0 = known.0.max(record.attempt);
                known.1 |= record.verdict == Verdict::Saved;
            }
        }
        for wait in &start.waits {
            past.open.insert(wait.operation.clone(), wait.id);
        }
        past
    }

    /// Whether an attempt of a step is recorded.
    pub(super) fn has_tried(&self, step: &Operation) -> bool {
        self.attempts.contains_key(step) || self.outcomes.contains_key(step)
    }

    /// Returns a strand that has come to this act.
    fn strand(&self, act: Option<&Act>, strand: usize, at: usize) -> Strand {
        let mut it = Strand {
            at,
            attempts: 0,
            side: Side::Unborn,
            awaits: None,
            saved: false,
        };
        let Some(act) = act else {
            return it;
        };
        let main = main_operation(*act, strand, at);
        (it.attempts, it.saved) = self.attempts.get(&main).copied().unwrap_or_default();
        if let Act::Race(what) = *act {
            let beside = operation(kind_of(what), strand, at, true);
            it.saved = false;
            it.side = match (self.outcomes.get(&beside), self.open.get(&beside)) {
                (Some(_), _) => Side::Over,
                (_, Some(id)) => Side::Open(*id),
                _ => Side::Unborn,
            };
        } else {
            it.awaits = self.open.get(&main).copied();
        }
        it
    }
}

/// Returns the operation of an act itself, not of the wait beside it.
pub(super) fn main_operation(act: Act, strand: usize, at: usize) -> Operation {
    let kind = match act {
        Act::Step | Act::Save | Act::Flaky(_) | Act::Race(_) => Kind::Do,
        Act::Wait(what, _) | Act::Leave(what) => kind_of(what),
        Act::Spawn(_) => Kind::CreateBatch,
        Act::Result(_) => Kind::Result,
        Act::Post => Kind::Send,
        Act::Answer(_) => Kind::Reply,
    };
    operation(kind, strand, at, matches!(act, Act::Leave(_)))
}

impl World {
    /// A body starts from the top and goes through its history.
    fn start(&mut self, start: &Start) {
        let program = Rc::new(Program::of(self.seed, &start.id));
        let before = self.life.bodies.get(&start.no);
        assert!(
            before.is_none_or(|it| it.over),
            "C1: started twice: {before:?}"
        );
        let past = Rc::new(Past::of(start));
        for wait in &start.waits {
            self.truth.said.found(start.no, wait);
        }
        let by = Body {
            no: start.no,
            incarnation: start.incarnation,
        };
        let undoing = Undoing::of(start);
        let strands = match undoing {
            Some(_) => 0..0,
            None => 0..program.strands.len(),
        };
        let strands = strands.map(|it| self.replay(by, &program.strands[it], it, 0, &past));
        let strands: Vec<_> = strands.collect();
        let body = Running {
            by,
            id: start.id.as_ref().into(),
            account: super::program::account(&start.namespace, &start.workflow),
            program,
            strands,
            seq: start.records.last().map_or(0, |it| it.seq),
            turns: start.records.len() as u64,
            past: Rc::clone(&past),
            took: FxHashMap::default(),
            left: Vec::new(),
            run: run_of(start),
            over: false,
            hushed: false,
            pauses: false,
            to_undo: false,
            undoing,
        };
        let undoes = body.undoing.is_some();
        self.life.bodies.insert(start.no, body);
        if undoes {
            self.take_up_undoing(start.no, &past, start.interrupted);
        } else if start.interrupted {
            self.cut_short(start.no);
        }
    }

    /// Goes through the recorded part of a strand, from this act on.
    fn replay(
        &mut self,
        by: Body,
        acts: &[Act],
        strand: usize,
        from: usize,
        past: &Past,
    ) -> Strand {
        let mut at = from;
        while let Some(act) = acts.get(at) {
            if !self.passes(by, *act, strand, at, past) {
                break;
            }
            at += 1;
        }
        let it = past.strand(acts.get(at), strand, at);
        if let (Side::Over, Some(Act::Race(what))) = (it.side, acts.get(at)) {
            self.tell(by, operation(kind_of(*what), strand, at, true));
        }
        it
    }

    /// Whether a body goes past an act, because it is recorded or nobody looks at it again.
    fn passes(&mut self, by: Body, act: Act, strand: usize, at: usize, past: &Past) -> bool {
        let main = main_operation(act, strand, at);
        let Some(outcome) = past.outcomes.get(&main).copied() else {
            return matches!(act, Act::Leave(_)) && past.open.contains_key(&main);
        };
        if !matches!(act, Act::Leave(_)) {
            self.tell(by, main);
        }
        if let Act::Race(what) = act {
            let beside = operation(kind_of(what), strand, at, true);
            if past.outcomes.get(&beside).is_some_and(|it| *it < outcome) {
                self.tell(by, beside.clone());
            }
            // It was given up, or its outcome came after the step's: then nobody takes that (I8).
            if let Some(id) = past.open.get(&beside) {
                self.submit(by.says(Speech::Withdraw(*id)));
            } else if let Some(seq) = past.outcomes.get(&beside).filter(|it| **it > outcome) {
                if matches!(what, For::Event(_)) {
                    self.truth.said.withdrawn.insert((by.no, beside));
                    self.submit(by.says(Speech::GiveBack(*seq)));
                }
            }
        }
        true
    }

    /// A body goes past an outcome.
    pub(super) fn tell(&mut self, by: Body, of: Operation) {
        let told = &mut self.truth.said.told;
        told.entry((by.no, by.incarnation)).or_default().insert(of);
    }

    /// R3: the steps that may have been running get an attempt that was cut short.
    fn cut_short(&mut self, no: InstanceNo) {
        for strand in 0..self.life.bodies[&no].strands.len() {
            let body = &self.life.bodies[&no];
            let runs = match body.act(strand) {
                Some(Act::Step | Act::Save | Act::Flaky(_)) => true,
                Some(Act::Race(_)) => body.strands[strand].side != Side::Unborn,
                _ => false,
            };
            if runs && body.strands[strand].awaits.is_none() {
                let record = self.record(no, strand, Verdict::Interrupted);
                let ticket = self.ticket();
                self.submit(
                    self.life.bodies[&no]
                        .by
                        .says(Speech::Record(ticket, record)),
                );
                let body = self.life.bodies.get_mut(&no).expect("it is there");
                body.strands[strand].attempts += 1;
            }
        }
        self.submit(self.life.bodies[&no].by.says(Speech::TakenUp));
    }

    /// Returns the record of the next attempt of a strand's act.
    pub(super) fn record(&self, no: InstanceNo, strand: usize, verdict: Verdict) -> Record {
        let body = &self.life.bodies[&no];
        let act = body.act(strand).expect("it has an act");
        let it = &body.strands[strand];
        Record {
            operation: main_operation(act, strand, it.at),
            attempt: it.attempts + 1,
            verdict,
            started_at: self.now,
            at: 0,
            begun: body.begun(),
            erases: None,
            moment: None,
            event: None,
            event_type: None,
            payload: Some(b"value".as_slice().into()),
        }
    }

    /// A note is heard.
    pub(super) fn hear(&mut self, note: Note) {
        match note {
            Note::Start(start) => self.start(&start),
            Note::Done { tickets, .. } => {
                for ticket in tickets {
                    if let Some(Asked::Record(by, _)) = self.truth.said.tickets.get(&ticket) {
                        self.goes_on(by.no, ticket);
                    }
                }
            }
            Note::Settled(it) => self.settled(&it),
            Note::Reply { ticket, code, data } => self.answered(ticket, code, &data),
            Note::Wake { no, .. } => {
                let body = self.life.bodies.get_mut(&no);
                body.expect("P2: only a body in memory is woken").hushed = false;
            }
            Note::Pause {
                no,
                incarnation,
                is_on,
            } => {
                if let Some(body) = self.life.bodies.get_mut(&no).filter(|it| !it.over) {
                    assert_eq!(body.by.incarnation, incarnation, "D6: {body:?}");
                    body.pauses = is_on;
                }
            }
            Note::Undo { no, incarnation } => {
                if let Some(body) = self.life.bodies.get_mut(&no).filter(|it| !it.over) {
                    assert_eq!(body.by.incarnation, incarnation, "D6: {body:?}");
                    body.to_undo = true;
                }
            }
            Note::Unwind { no, incarnation } => {
                if let Some(body) = self.life.bodies.remove(&no) {
                    // One that had ended left by itself.
                    let same = body.by.incarnation == incarnation;
                    assert!(same || body.over, "D6: {incarnation} ends, not {body:?}");
                    let awaited = body.strands.iter().filter_map(|it| it.awaits);
                    self.life.late.extend(awaited);
                    // One that is paused goes on in the same life, and its body says nothing more.
                    let it = self.truth.all.get(&no);
                    let lives =
                        it.is_some_and(|it| it.incarnation == incarnation && !it.status.is_final());
                    if !lives {
                        self.life.unwound.push(body.by);
                    }
                }
            }
            Note::Fenced { ticket } => {
                let of = match self.truth.said.tickets.get(&ticket) {
                    Some(Asked::Record(by, _)) => self.life.bodies.get(&by.no),
                    _ => None,
                };
                let said = self.truth.said.tickets.get(&ticket);
                let of = of.filter(|it| matches!(said, Some(Asked::Record(by, _)) if *by == it.by));
                let late = self.life.late.contains(&ticket) || of.is_none_or(|it| it.over);
                assert!(
                    late,
                    "D1: a record of one that runs was turned away: {of:?}"
                );
            }
            _ => {}
        }
    }

    fn settled(&mut self, it: &Settled) {
        let body = self.life.bodies.get_mut(&it.no);
        let body = body.unwrap_or_else(|| panic!("C1: nobody is there to hear {it:?}"));
        body.hushed = false;
        if it.seq != 0 && it.seq <= body.seq {
            return;
        }
        body.seq = body.seq.max(it.seq);
        if body.over {
            return;
        }
        if body.undoing.is_some() {
            return self.undo_goes_on(it.no, it.number);
        }
        let mut beside = None;
        for (number, strand) in body.strands.iter_mut().enumerate() {
            if strand.side == Side::Open(it.number) {
                beside = Some((number, strand.at));
                strand.side = Side::Over;
            } else if strand.awaits == Some(it.number) && it.seq == 0 {
                (strand.awaits, strand.attempts) = (None, strand.attempts + 1);
            }
        }
        if let Some((strand, at)) = beside {
            if let Some(Act::Race(what)) = body.act(strand) {
                let told = &mut self.truth.said.told;
                let told = told.entry((it.no, body.by.incarnation)).or_default();
                told.insert(operation(kind_of(what), strand, at, true));
            }
        }
        let of_old = body.past.open.iter().map(|it| (*it.1, it.0.clone()));
        let left = body.left.iter().cloned().chain(of_old);
        let left = left.filter(|left| left.0 == it.number && &*left.1.name == "side");
        let told = &mut self.truth.said.told;
        let told = told.entry((it.no, body.by.incarnation)).or_default();
        told.extend(left.map(|it| it.1));
        body.left.retain(|left| left.0 != it.number);
        let awaits = |at: &usize| body.strands[*at].awaits == Some(it.number);
        if let (Some(strand), Some(said)) = ((0..body.strands.len()).find(awaits), &it.payload) {
            let act = body.act(strand).expect("it waits in an act");
            if let Act::Wait(For::Event(_), _) = act {
                let operation = main_operation(act, strand, body.strands[strand].at);
                body.took.insert(operation, (it.seq, said.clone()));
            }
        }
        if it.seq != 0 {
            self.goes_on(it.no, it.number);
        }
    }

    /// The outcome of what a strand waits for is there; it goes on to its next act.
    fn goes_on(&mut self, no: InstanceNo, number: u64) {
        let Some(body) = self.life.bodies.get_mut(&no) else {
            return;
        };
        if body.undoing.is_some() {
            return self.undo_goes_on(no, number);
        }
        let awaits = |it: &Strand| it.awaits == Some(number);
        let Some(strand) = body.strands.iter().position(awaits) else {
            return;
        };
        let by = body.by;
        body.turns += 1;
        let act = body.act(strand).expect("it waits in an act");
        let it = &mut body.strands[strand];
        let main = main_operation(act, strand, it.at);
        let (at, open) = (it.at, it.side);
        it.at += 1;
        self.tell(by, main);
        if let Side::Open(id) = open {
            self.submit(by.says(Speech::Withdraw(id)));
        }
        self.arrive(no, strand, at + 1);
    }

    /// A strand comes to its next act.
    fn arrive(&mut self, no: InstanceNo, strand: usize, at: usize) {
        let body = &self.life.bodies[&no];
        let (by, program, past) = (body.by, Rc::clone(&body.program), Rc::clone(&body.past));
        let next = self.replay(by, &program.strands[strand], strand, at, &past);
        *self.strand(no, strand) = next;
    }

    /// A body says that it only waits, if that is so. It may say so again.
    pub(super) fn hush(&mut self, no: InstanceNo, again: bool) -> bool {
        let Some(body) = self.life.bodies.get_mut(&no) else {
            return false;
        };
        if !body.only_waits() || (body.hushed && !again) {
            return false;
        }
        body.hushed = true;
        let quiet = body.by.says(Speech::Quiet(body.seq, self.life.seen));
        self.submit(quiet);
        true
    }

    /// A body that only waits leaves memory, if the engine lets it.
    pub(super) fn park(&mut self, no: InstanceNo) -> bool {
        let parks =
            self.life.bodies.get(&no).is_some_and(|it| {
                it.only_waits() && self.life.residents.park(no, it.by.incarnation)
            });
        if parks {
            self.life.bodies.remove(&no);
            self.trace(|_| format!("parked {no}"));
        }
        parks
    }

    /// A body does one thing; returns false if it can do nothing.
    pub(super) fn run_body(&mut self, no: InstanceNo) -> bool {
        let Some(body) = self.life.bodies.get(&no).filter(|it| !it.over) else {
            return false;
        };
        if body.undoing.is_some() {
            return self.undo(no);
        }
        if body.to_undo {
            return self.leave_to_undo(no);
        }
        if body.pauses {
            return self.pause(no);
        }
        if body.has_ended() {
            self.end(no);
            return true;
        }
        let ready = |it: &usize| body.act(*it).is_some() && body.strands[*it].awaits.is_none();
        let ready: Vec<_> = (0..body.strands.len()).filter(ready).collect();
        if ready.is_empty() {
            return false;
        }
        let strand = self.dice.pick(&ready);
        self.act(no, strand)
    }

    pub(super) fn strand(&mut self, no: InstanceNo, strand: usize) -> &mut Strand {
        let body = self.life.bodies.get_mut(&no).expect("it is there");
        &mut body.strands[strand]
    }

    /// Does the next act of a strand; returns false if that is not possible now.
    fn act(&mut self, no: InstanceNo, strand: usize) -> bool {
        let body = &self.life.bodies[&no];
        let act = body.act(strand).expect("it is ready");
        let it = &body.strands[strand];
        let (side, saved) = (it.side, it.saved);
        let number = match act {
            Act::Save if !saved => {
                self.save(no, strand);
                return true;
            }
            Act::Flaky(times) if it.attempts < times => Some(self.fail(no, strand)),
            Act::Wait(what, timeout) => self.wait(no, strand, what, timeout, false),
            Act::Race(what) if side == Side::Unborn => {
                let Some(id) = self.wait(no, strand, what, None, true) else {
                    return false;
                };
                self.strand(no, strand).side = Side::Open(id);
                return true;
            }
            Act::Step | Act::Save | Act::Flaky(_) | Act::Race(_) => Some(self.succeed(no, strand)),
            Act::Leave(what) => {
                let opened = self.wait(no, strand, what, None, true);
                if let Some(id) = opened {
                    let at = self.strand(no, strand).at;
                    let left = (id, main_operation(act, strand, at));
                    let body = self.life.bodies.get_mut(&no).expect("it acts");
                    body.left.push(left);
                    self.arrive(no, strand, at + 1);
                }
                return opened.is_some();
            }
            Act::Spawn(count) => self.spawn(no, strand, count),
            Act::Result(of) => Some(self.await_child(no, strand, of)),
            Act::Post => Some(self.post(no, strand)),
            Act::Answer(of) => Some(self.answer(no, strand, of)),
        };
        let acted = number.is_some();
        self.strand(no, strand).awaits = number;
        acted
    }
}
