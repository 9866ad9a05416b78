//! What the steps of bodies come to, and how they answer events.

use super::bodies::main_operation;
use super::program::Act;
use super::world::World;
use crate::history::Verdict;
use crate::ids::InstanceNo;
use crate::submission::Speech;

/// What an attempt came to whose step was given up.
const VALUE: &[u8] = b"\xa1\x65value\x41v";
const ERROR: &[u8] = b"\xa1\x65error\x41e";

impl World {
    pub(super) fn save(&mut self, no: InstanceNo, strand: usize) {
        let by = self.life.bodies[&no].by;
        let record = self.record(no, strand, Verdict::Saved);
        let ticket = self.ticket();
        self.submit(by.says(Speech::Report(b"half".as_slice().into())));
        self.submit(by.says(Speech::Record(ticket, record)));
        self.strand(no, strand).saved = true;
    }

    pub(super) fn succeed(&mut self, no: InstanceNo, strand: usize) -> u64 {
        let by = self.life.bodies[&no].by;
        let mut record = self.record(no, strand, Verdict::Done);
        let act = self.life.bodies[&no].act(strand);
        if act == Some(Act::Step) && self.dice.once_in(6) {
            // It was given up, and this is what became of its attempt.
            let payload = self.dice.pick(&[Some(VALUE), Some(ERROR), None]);
            record.verdict = Verdict::Abandoned;
            record.payload = payload.map(Into::into);
        }
        let ticket = self.ticket();
        self.submit(by.says(Speech::Record(ticket, record)));
        ticket
    }

    /// Answers an event, or, if the wait for it ran out, says so of none.
    pub(super) fn answer(&mut self, no: InstanceNo, strand: usize, of: usize) -> u64 {
        let mut record = self.record(no, strand, Verdict::Done);
        let body = &self.life.bodies[&no];
        let act = body.program.strands[strand][of];
        let waited = main_operation(act, strand, of);
        let taken = body
            .took
            .get(&waited)
            .or_else(|| body.past.took.get(&waited));
        let (place, said) = taken.cloned().unwrap_or_default();
        let by = body.by;
        let ticket = self.ticket();
        // No two answers are alike.
        let answer = [&*said, &ticket.to_le_bytes()].concat();
        (record.attempt, record.payload) = (0, Some(answer.into()));
        self.submit(by.says(Speech::Answer(ticket, place, Box::new(record))));
        ticket
    }

    pub(super) fn fail(&mut self, no: InstanceNo, strand: usize) -> u64 {
        let by = self.life.bodies[&no].by;
        let mut record = self.record(no, strand, Verdict::AttemptFailed);
        record.moment = Some(self.now + self.dice.roll(6) as i64);
        let number = self.life.sequence.draw();
        self.submit(by.says(Speech::Retry(number, Box::new(record))));
        number
    }
}
