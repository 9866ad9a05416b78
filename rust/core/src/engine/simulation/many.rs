//! Somebody does something to many instances, part by part, as whoever runs it for them would: from
//! the place that is durable, however often the process dies.

use std::collections::VecDeque;

use super::outside::name;
use super::world::World;
use crate::audit::By;
use crate::bulk::Bulk;
use crate::ids::InstanceNo;
use crate::rewind::From;
use crate::submission::{Command, Part, Submission, Verb, OVERHEARD};

impl World {
    /// Somebody begins it.
    pub(super) fn begin_many(&mut self) -> bool {
        let ticket = self.ticket();
        let operation = self.dice.pick(&[
            "pause",
            "pause",
            "pause",
            "resume",
            "resume",
            "resume",
            "retry_now",
            "retry_now",
            "terminate",
            "terminate",
            "restart",
            "delete",
        ]);
        self.submit(Command::BeginBulk(
            ticket,
            Box::new(Bulk {
                operation: operation.into(),
                frontier: u64::MAX,
                what: Some([].into()),
                ..Bulk::default()
            }),
        ));
        true
    }

    /// Whoever runs it finds some of those that are left.
    pub(super) fn go_on_with_many(&mut self) -> bool {
        let open = self.truth.bulks.values().filter(|it| it.ended_at.is_none());
        let open: Vec<_> = open.cloned().collect();
        // One part at a time.
        let idle = |it: &&Bulk| !self.life.parts.values().any(|part| *part == it.number);
        let Some(bulk) = open.iter().find(idle) else {
            return false;
        };
        let left = |no: &InstanceNo| *no > bulk.place && *no <= bulk.frontier;
        let mut numbers: Vec<_> = self.truth.all.keys().copied().filter(left).collect();
        numbers.sort_unstable();
        let most = 1 + self.dice.roll(4) as usize;
        let ends = numbers.len() <= most;
        numbers.truncate(most);
        let ticket = self.ticket();
        let (mut items, mut keys) = (VecDeque::new(), Vec::new());
        for no in &numbers {
            let it = &self.truth.all[no];
            let verb = match &*bulk.operation {
                "pause" => Verb::Pause,
                "resume" => Verb::Resume,
                // As whoever began it wants it for all of them.
                "terminate" if bulk.number.is_multiple_of(2) => Verb::Undo("many".into()),
                "terminate" => Verb::Terminate("many".into()),
                "restart" if bulk.number.is_multiple_of(2) => Verb::Restart(From::Start),
                "restart" => Verb::Restart(From::Failed),
                "delete" => Verb::Delete,
                _ => Verb::RetryNow,
            };
            keys.push((it.key.0, verb.clone()));
            let deed = verb.to(name(it.account, &it.id));
            items.push_back((*no, Command::Act(OVERHEARD, deed)));
        }
        self.truth.said.done_to_many(keys);
        self.life.parts.insert(ticket, bulk.number);
        self.submit(Command::Part(
            ticket,
            Box::new(Part {
                number: bulk.number,
                items,
                states: Vec::new(),
                place: numbers.last().copied().unwrap_or(bulk.place),
                ends,
            }),
        ));
        true
    }

    /// Somebody has had enough of it.
    pub(super) fn stop_many(&mut self) -> bool {
        let open = self.truth.bulks.values().filter(|it| it.ended_at.is_none());
        let numbers: Vec<_> = open.map(|it| it.number).collect();
        if numbers.is_empty() {
            return false;
        }
        let number = self.dice.pick(&numbers);
        let ticket = self.ticket();
        self.submit(Submission::Outside(Command::StopBulk(
            ticket,
            number,
            By::default(),
        )));
        true
    }
}
