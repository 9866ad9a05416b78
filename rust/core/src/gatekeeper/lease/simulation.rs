//! Leases under everything that can go wrong, from a seed: messages are lost, doubled, late and out
//! of order; owners of shards die, are cut off and go on, are replaced by a newer epoch, hand over;
//! the gatekeeper dies and starts anew; limits move; every process has a clock of its own.
//!
//! C1 is checked after every step against what runs in truth: an owner that was cut off runs on
//! until its own clock says stop. When the faults stop: C2 (no slot idles), C3 (shares are max-min,
//! and a newcomer starts within its bound), C7, and everything ends.

use super::holder::{Holder, Want};
use super::lessor::Lessor;
use super::*;
use crate::gatekeeper::Gatekeeper;

const SECOND: Micros = 1_000_000;
const STEP: Micros = SECOND / 10;
const TERMS: Terms = Terms {
    lease: 10 * SECOND,
    margin: SECOND / 2,
    cycle: SECOND,
};
/// How long an instance runs at most, when the faults have stopped.
const LONGEST: Micros = 3 * SECOND;
/// How long a message is under way at most, when nothing goes wrong.
const DELAY: Micros = SECOND / 5;

struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        // SplitMix64: every seed is a good one.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ word >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ word >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (word ^ word >> 31) % sides
    }

    fn micros(&mut self, most: Micros) -> Micros {
        self.roll(most as u64) as Micros
    }

    fn one_in(&mut self, of: u64) -> bool {
        self.roll(of) == 0
    }
}

/// A clock that starts anywhere and is a little too fast or too slow.
#[derive(Debug, Clone, Copy)]
struct Clock {
    ahead: Micros,
    per_mille: Micros,
}

impl Clock {
    fn new(dice: &mut Dice) -> Self {
        Self {
            ahead: dice.micros(1_000 * SECOND),
            per_mille: 990 + dice.micros(21),
        }
    }

    fn at(self, time: Micros) -> Micros {
        self.ahead + time * self.per_mille / 1_000
    }
}

/// A process that owns a shard, or believes that it does.
struct Owner {
    holder: Holder<u64>,
    clock: Clock,
    cut_off: bool,
    since: Micros,
    sent: i64,
    /// (workflow, entry, when it ends)
    running: Vec<(u32, u64, Micros)>,
}

struct Shard {
    /// The last one is the true one.
    owners: Vec<Owner>,
    epoch: u64,
    /// Entries by workflow, in order.
    queues: Vec<Vec<u64>>,
}

enum Message {
    Ask(Request<u64>),
    Tell(Reply),
}

struct World {
    dice: Dice,
    seed: u64,
    time: Micros,
    lessor: Lessor<u64>,
    clock: Clock,
    learns_until: Micros,
    inbox: Vec<Request<u64>>,
    wire: Vec<(Micros, Message)>,
    shards: Vec<Shard>,
    namespaces: Vec<u32>,
    /// Namespace and limit of each.
    workflows: Vec<(u32, u32)>,
    slots: u32,
    /// What may run at most: the limit, or what was leased when that was lowered.
    allowed: Vec<u32>,
    faults: bool,
    ends: bool,
    entries: u64,
}

fn gate(slots: u32, namespaces: &[u32], workflows: &[(u32, u32)]) -> Gatekeeper {
    let mut gate = Gatekeeper::new(slots);
    for limit in namespaces {
        gate.add_namespace(*limit);
    }
    for (namespace, limit) in workflows {
        gate.add_workflow(*namespace, Some(*limit));
    }
    gate
}

impl World {
    fn new(seed: u64) -> Self {
        let mut dice = Dice(seed);
        let slots = 1 + dice.roll(20) as u32;
        let namespaces: Vec<_> = (0..2).map(|_| 1 + dice.roll(15) as u32).collect();
        let workflows: Vec<_> = (0..4)
            .map(|it| (it % 2, 1 + dice.roll(10) as u32))
            .collect();
        let clock = Clock::new(&mut dice);
        let gate = gate(slots, &namespaces, &workflows);
        let mut world = Self {
            seed,
            time: 0,
            lessor: Lessor::new(gate, TERMS),
            clock,
            learns_until: 0,
            inbox: Vec::new(),
            wire: Vec::new(),
            shards: Vec::new(),
            allowed: vec![u32::MAX; 7],
            namespaces,
            workflows,
            slots,
            faults: true,
            ends: true,
            entries: 0,
            dice,
        };
        for number in 0..=world.dice.roll(6) as u32 {
            let mut shard = Shard {
                owners: Vec::new(),
                epoch: 0,
                queues: vec![Vec::new(); 4],
            };
            world.own(number, &mut shard);
            world.shards.push(shard);
        }
        world
    }

    /// Gives a shard a new owner, which knows nothing of those before it.
    fn own(&mut self, number: u32, shard: &mut Shard) {
        shard.epoch += 1;
        let clock = Clock::new(&mut self.dice);
        shard.owners.push(Owner {
            holder: Holder::new(number, shard.epoch, TERMS),
            clock,
            cut_off: false,
            since: clock.at(self.time),
            sent: 0,
            running: Vec::new(),
        });
    }

    fn send(&mut self, message: impl Fn() -> Message) {
        if !self.faults {
            let at = self.time + self.dice.micros(DELAY);
            self.wire.push((at, message()));
            return;
        }
        let copies = [0, 1, 1, 1, 1, 2][self.dice.roll(6) as usize];
        for _ in 0..copies {
            let late = if self.dice.one_in(8) {
                15 * SECOND
            } else {
                SECOND
            };
            let at = self.time + self.dice.micros(late);
            self.wire.push((at, message()));
        }
    }

    fn deliver(&mut self) {
        let due = |it: &(Micros, Message)| it.0 <= self.time;
        let (due, later) = std::mem::take(&mut self.wire).into_iter().partition(due);
        self.wire = later;
        let mut due: Vec<(Micros, Message)> = due;
        while !due.is_empty() {
            let at = self.dice.roll(due.len() as u64) as usize;
            match due.swap_remove(at).1 {
                Message::Ask(request) => self.inbox.push(request),
                Message::Tell(reply) => {
                    let shard = &mut self.shards[reply.shard as usize];
                    for owner in shard.owners.iter_mut().filter(|it| !it.cut_off) {
                        owner.holder.hear(&reply, owner.clock.at(self.time));
                    }
                }
            }
        }
    }

    /// Owners whose lease is over have stopped before anything else happens.
    fn stop(&mut self) {
        for shard in &mut self.shards {
            let last = shard.owners.len() - 1;
            for (at, owner) in shard.owners.iter_mut().enumerate() {
                if owner.holder.has_lapsed(owner.clock.at(self.time)) {
                    for (workflow, entry, _) in owner.running.drain(..) {
                        if at == last {
                            shard.queues[workflow as usize].insert(0, entry);
                        }
                    }
                }
            }
        }
    }

    fn work(&mut self) {
        for number in 0..self.shards.len() {
            let last = self.shards[number].owners.len() - 1;
            for at in 0..=last {
                if let Some(request) = self.run_owner(number, at, at == last) {
                    self.send(|| Message::Ask(request.clone()));
                }
            }
        }
    }

    /// Instances end and start; returns what the owner sends.
    fn run_owner(&mut self, number: usize, at: usize, is_true: bool) -> Option<Request<u64>> {
        let shard = &mut self.shards[number];
        let owner = &mut shard.owners[at];
        let (time, now) = (self.time, owner.clock.at(self.time));
        if self.ends {
            owner.running.retain(|it| {
                let ends = it.2 <= time;
                if ends {
                    owner.holder.end(it.0);
                }
                !ends
            });
        }
        let mut wants = Vec::new();
        // One that is not the true owner any more works off what it believes to be its queue: it
        // starts whatever it may, again and again.
        for (workflow, queue) in (0u32..).zip(&mut shard.queues) {
            while (!is_true || !queue.is_empty()) && owner.holder.start(workflow, now) {
                let entry = if is_true { queue.remove(0) } else { 0 };
                // Some outlast a lease, so that it matters when that ends.
                let long = self.faults && self.dice.one_in(3);
                let longest = if long { 3 * TERMS.lease } else { LONGEST };
                let ends = time + 1 + self.dice.micros(longest);
                owner.running.push((workflow, entry, ends));
            }
            if let Some(head) = queue.first() {
                wants.push(Want {
                    workflow,
                    wanted: queue.len() as u32,
                    head: *head,
                });
            }
        }
        let request = owner.holder.request(&wants, now)?;
        owner.sent += 1;
        let most = (now - owner.since) / TERMS.cycle + 1;
        assert!(owner.sent <= most, "seed {}: C7", self.seed);
        (!owner.cut_off).then_some(request)
    }

    fn lease(&mut self) {
        let now = self.clock.at(self.time);
        let requests = std::mem::take(&mut self.inbox);
        for reply in self.lessor.cycle(requests, now) {
            self.send(|| Message::Tell(reply.clone()));
        }
    }

    fn fault(&mut self) {
        let at = self.dice.roll(self.shards.len() as u64) as usize;
        match self.dice.roll(60) {
            // The owner is gone, or cut off and will not know for a while.
            0 | 1 => {
                let mut shard = std::mem::replace(
                    &mut self.shards[at],
                    Shard {
                        owners: Vec::new(),
                        epoch: 0,
                        queues: Vec::new(),
                    },
                );
                let owner = shard.owners.last_mut().expect("it has one");
                for (workflow, entry, _) in &owner.running {
                    shard.queues[*workflow as usize].insert(0, *entry);
                }
                owner.cut_off = true;
                if self.dice.one_in(2) {
                    shard.owners.pop();
                }
                self.own(at as u32, &mut shard);
                self.shards[at] = shard;
            }
            2 | 3 => {
                let shard = &mut self.shards[at];
                let which = self.dice.roll(shard.owners.len() as u64) as usize;
                let owner = &mut shard.owners[which];
                owner.cut_off = !owner.cut_off;
            }
            4 => {
                let shard = &mut self.shards[at];
                shard.epoch += 1;
                let owner = shard.owners.last_mut().expect("it has one");
                owner.holder = owner.holder.clone().hand_over(shard.epoch);
            }
            5 => self.move_limit(),
            6 if self.dice.one_in(8) => {
                let gate = gate(self.slots, &self.namespaces, &self.workflows);
                let now = self.clock.at(self.time);
                self.lessor = Lessor::learning(gate, TERMS, now);
                self.learns_until = now + TERMS.lease + TERMS.margin;
                self.inbox.clear();
            }
            7..=20 => {
                let workflow = self.dice.roll(4) as usize;
                for _ in 0..=self.dice.roll(6) {
                    self.entries += 1;
                    self.shards[at].queues[workflow].push(self.entries);
                }
            }
            _ => {}
        }
    }

    fn move_limit(&mut self) {
        let limit = 1 + self.dice.roll(15) as u32;
        let gate = self.lessor.gate_mut();
        if self.dice.one_in(2) {
            let at = self.dice.roll(2) as usize;
            self.namespaces[at] = limit;
            gate.set_namespace_limit(at as u32, limit);
        } else {
            let at = self.dice.roll(4) as usize;
            self.workflows[at].1 = limit;
            gate.set_limit(at as u32, Some(limit));
        }
    }

    /// By scope (the engine, namespaces, workflows): the limit, what is leased, what runs in truth.
    fn scopes(&self) -> [(u32, u32, u32); 7] {
        let (mut leased, mut runs) = ([0; 4], [0; 4]);
        for (workflow, leased) in (0u32..).zip(&mut leased) {
            *leased = self.lessor.gate().leased_to(workflow);
        }
        for owner in self.shards.iter().flat_map(|it| &it.owners) {
            for it in &owner.running {
                runs[it.0 as usize] += 1;
            }
        }
        let scope = |limit, of: &dyn Fn(usize) -> bool| {
            let sum = |it: &[u32; 4]| (0..4).filter(|at| of(*at)).map(|at| it[at]).sum();
            (limit, sum(&leased), sum(&runs))
        };
        let namespace = |it: usize| scope(self.namespaces[it], &|at| at % 2 == it);
        let workflow = |it: usize| scope(self.workflows[it].1, &|at| at == it);
        [
            scope(self.slots, &|_| true),
            namespace(0),
            namespace(1),
            workflow(0),
            workflow(1),
            workflow(2),
            workflow(3),
        ]
    }

    /// C1: no more runs than the limit says, or what was leased when that was lowered.
    fn check(&mut self) {
        let learns = self.clock.at(self.time) < self.learns_until;
        for (at, (limit, leased, runs)) in self.scopes().into_iter().enumerate() {
            let before = self.allowed[at];
            let drained = if learns { before } else { before.min(leased) };
            assert!(
                runs <= drained.max(limit),
                "seed {}: C1 at {}: scope {at}: {runs} run, limit {limit}, {leased} leased, \
                {before} before",
                self.seed,
                self.time
            );
            self.allowed[at] = drained.max(limit);
        }
    }

    fn pass(&mut self, time: Micros) {
        let until = self.time + time;
        while self.time < until {
            self.time += STEP;
            self.stop();
            self.deliver();
            // Some have just heard that they are superseded.
            self.stop();
            self.work();
            if !self.faults || self.dice.one_in(2) {
                self.lease();
            }
            if self.faults {
                self.fault();
            }
            self.check();
        }
    }

    fn has_entries(&self, workflow: u32) -> bool {
        let mut queues = self.shards.iter().map(|it| &it.queues[workflow as usize]);
        queues.any(|it| !it.is_empty())
    }

    fn refill(&mut self, count: u64, but: u32) {
        for shard in &mut self.shards {
            for (workflow, queue) in (0u32..).zip(&mut shard.queues) {
                for _ in 0..if workflow == but { 0 } else { count } {
                    self.entries += 1;
                    queue.push(self.entries);
                }
            }
        }
    }

    /// C2: while nothing ends, every slot that could be used is used.
    fn check_idle(&mut self) {
        self.ends = false;
        self.pass(4 * TERMS.cycle);
        for workflow in 0..4 {
            let free = self.lessor.gate().free(workflow);
            let idle = free > 0 && self.has_entries(workflow);
            assert!(!idle, "seed {}: C2: {free} idle for {workflow}", self.seed);
        }
        for (_, leased, runs) in self.scopes() {
            assert_eq!(leased, runs, "seed {}: C2: leased, not used", self.seed);
        }
        self.ends = true;
    }

    /// C3: shares are max-min when everybody has more entries than slots. Who has the odd slot of
    /// two namespaces, and of two workflows in one, changes by turns, and is on its way at any
    /// moment.
    fn check_shares(&self) {
        let mut namespaces = [0u32; 2];
        let mut workflows = [0u32; 4];
        for _ in 0..self.slots {
            let open = (0..4usize).filter(|at| {
                workflows[*at] < self.workflows[*at].1
                    && namespaces[at % 2] < self.namespaces[at % 2]
            });
            let Some(next) = open.min_by_key(|at| (namespaces[at % 2], workflows[*at])) else {
                break;
            };
            workflows[next] += 1;
            namespaces[next % 2] += 1;
        }
        let leased = |at: usize| self.lessor.gate().leased_to(at as u32);
        for at in 0..4 {
            assert!(
                leased(at).abs_diff(workflows[at]) <= 2,
                "seed {}: C3: {:?}, not {workflows:?}",
                self.seed,
                self.scopes()
            );
        }
    }

    /// C3: what comes new starts when a slot was released, or two where its namespace has to wait
    /// for its turn. An exchange tells of it; then each turn is one exchange until the shard knows
    /// that it is not to keep its slot, the release, one until that is returned, one until it is
    /// picked up.
    fn check_newcomer(&mut self) {
        let new = self.dice.roll(4) as u32;
        for shard in &mut self.shards {
            shard.queues[new as usize].clear();
        }
        self.refill(500, new);
        self.pass(2 * LONGEST + 4 * TERMS.cycle);
        let at = self.dice.roll(self.shards.len() as u64) as usize;
        self.entries += 1;
        self.shards[at].queues[new as usize].push(self.entries);
        let exchange = TERMS.cycle * 11 / 10 + STEP + 2 * (DELAY + STEP);
        let bound = exchange + 2 * (3 * exchange + LONGEST + STEP);
        let began = self.time;
        while self.has_entries(new) {
            self.pass(STEP);
            assert!(
                self.time - began <= bound,
                "seed {}: C3: {new} starves: {:?}",
                self.seed,
                self.scopes()
            );
        }
    }

    fn run(&mut self) {
        self.pass(120 * SECOND);
        self.faults = false;
        for shard in &mut self.shards {
            let last = shard.owners.pop().expect("it has one");
            // Whoever was replaced hears of it, or runs out of time.
            shard.owners.push(last);
            for owner in &mut shard.owners {
                owner.cut_off = false;
            }
        }
        self.pass(2 * (TERMS.lease + TERMS.margin));
        self.refill(3, 9);
        self.check_idle();
        self.refill(500, 9);
        self.pass(20 * SECOND);
        self.check_idle();
        self.check_shares();
        self.check_newcomer();
        for shard in &mut self.shards {
            shard.queues.iter_mut().for_each(|it| it.truncate(5));
        }
        let mut rounds = 0;
        while (0..4).any(|it| self.has_entries(it)) || self.lessor.gate().leased() > 0 {
            self.pass(SECOND);
            rounds += 1;
            assert!(rounds < 2_000, "seed {}: never ends", self.seed);
        }
    }
}

/// Says how to run one seed alone, if it fails.
struct Alone(u64);

impl Drop for Alone {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!(
                "STEPWELL_LEASE_SEED={} cargo test --release -p stepwell-core --lib \
                lease::simulation",
                self.0
            );
        }
    }
}

#[test]
fn c1_holds_whatever_gets_lost_and_all_goes_on_when_the_faults_stop() {
    let number = |name: &str| {
        std::env::var(name)
            .ok()
            .and_then(|it| it.parse::<u64>().ok())
    };
    let alone = number("STEPWELL_LEASE_SEED");
    let count = number("STEPWELL_LEASE_SEEDS").unwrap_or(100);
    for seed in alone.map_or(0..count, |it| it..it + 1) {
        let _alone = Alone(seed);
        World::new(seed).run();
    }
}
