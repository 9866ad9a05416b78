//! The outside: what users want of the engine, tried again until it is acknowledged.
//!
//! It creates instances, singly and in batches, sends the events that they will wait for, decides
//! what they will ask. Whatever is not acknowledged when the process dies is tried again.

use rustc_hash::FxHashMap;

use super::dice::Dice;
use super::facts::Truly;
use super::plan::{Change, Limit, Plan, LIMITS};
use super::program::{
    account_of_children, approval_id, child_id, has_own_id, namespace, workflow, Account, Act, For,
    Program, ACCOUNTS, NAMESPACES, TYPES, VERSIONS, WORKFLOWS,
};
use super::said::Stamp;
use super::world::World;
use crate::audit::By;
use crate::history::Verdict;
use crate::ids::InstanceNo;
use crate::lifecycle::Status;
use crate::note::Data;
use crate::submission::{
    Anew, Code, Command, Decision, Deed, IfExists, LimitChange, Name, NewItem, Resolution, Sent,
    Verb,
};
use crate::wait::Source;

/// An instance to be created.
#[derive(Debug, Clone)]
pub(super) struct Newcomer {
    id: String,
    priority: i8,
    delay: Option<i64>,
}

/// Something the outside wants.
#[derive(Debug, Clone)]
pub(super) enum Errand {
    /// These exist; the flag says that the call waits for room, none that it is a single creation.
    Create(Account, Vec<Newcomer>, IfExists, Option<bool>),
    /// This event of this type arrives; the flag says whether it is ever repeated.
    Send(Account, String, usize, u32, bool),
    /// This is decided.
    Decide(Account, String, Box<str>, bool),
}

/// All errands.
#[derive(Debug, Default)]
pub(super) struct Outside {
    errands: Vec<Errand>,
    /// Those that are to be tried.
    open: Vec<usize>,
    /// Those that are under way, by ticket.
    tried: FxHashMap<u64, usize>,
    /// Events that may be sent once more.
    arrived: Vec<usize>,
    /// Submissions of events so far.
    sent: u32,
    pub(super) events: u32,
    pub(super) roots: Vec<(Account, String)>,
}

impl Outside {
    pub(super) fn draw(seed: u64, dice: &mut Dice, plan: &Plan) -> Self {
        let mut outside = Self::default();
        let accounts: Vec<Account> = match dice.roll(3) {
            0 => vec![dice.roll(ACCOUNTS as u64) as Account],
            1 => vec![0, 1],
            _ => (0..ACCOUNTS).collect(),
        };
        let mut count = 1 + dice.roll(8);
        while count > 0 {
            let account = dice.pick(&accounts);
            let many = if dice.once_in(3) {
                1 + dice.roll(count.min(u64::from(plan.queue_of(account))))
            } else {
                1
            };
            count -= many.min(count);
            let if_exists = dice.pick(&[IfExists::Raise, IfExists::Return, IfExists::ReturnIfSame]);
            let newcomers: Vec<_> = (0..many)
                .map(|_| outside.newcomer(seed, dice, account))
                .collect();
            let wait = (many > 1 || dice.once_in(3)).then(|| dice.once_in(2));
            outside.add(Errand::Create(account, newcomers, if_exists, wait));
        }
        outside
    }

    fn newcomer(&mut self, seed: u64, dice: &mut Dice, account: Account) -> Newcomer {
        let id = format!("i{}", self.roots.len());
        self.roots.push((account, id.clone()));
        self.wants(seed, dice, account, &id);
        Newcomer {
            id,
            priority: dice.pick(&[0, 0, 0, 5, -5, 100]),
            delay: dice.once_in(4).then(|| dice.roll(20) as i64),
        }
    }

    fn add(&mut self, errand: Errand) {
        self.open.push(self.errands.len());
        self.errands.push(errand);
    }

    /// Everything an instance and its children will wait for.
    fn wants(&mut self, seed: u64, dice: &mut Dice, account: Account, id: &str) {
        let program = Program::of(seed, id);
        for kind in 0..TYPES.len() {
            for _ in 0..program.takers(kind) {
                self.event(account, id, kind, true);
            }
            if dice.once_in(6) {
                self.event(account, id, kind, false);
            }
        }
        for (strand, at, act) in program.acts() {
            match act {
                Act::Wait(For::Approval, _)
                | Act::Race(For::Approval)
                | Act::Leave(For::Approval) => {
                    let approval = approval_id(account, id, strand, at);
                    for approved in [true, false] {
                        let (id, approval) = (id.to_owned(), approval.clone());
                        self.add(Errand::Decide(account, id, approval, approved));
                    }
                }
                Act::Wait(For::Child, _) | Act::Race(For::Child) | Act::Leave(For::Child)
                    if has_own_id(strand, at) =>
                {
                    let child = child_id(id, strand, at, 0);
                    self.wants(seed, dice, account_of_children(account), &child);
                }
                Act::Spawn(count) => {
                    for which in 0..count {
                        let child = child_id(id, strand, at, which);
                        self.wants(seed, dice, account_of_children(account), &child);
                    }
                }
                _ => {}
            }
        }
    }

    fn event(&mut self, account: Account, id: &str, kind: usize, repeats: bool) {
        self.events += 1;
        let errand = Errand::Send(account, id.to_owned(), kind, self.events, repeats);
        self.add(errand);
    }

    pub(super) fn is_content(&self) -> bool {
        self.open.is_empty() && self.tried.is_empty()
    }

    /// The process died: what was under way is tried again.
    pub(super) fn lost(&mut self) {
        let mut tried: Vec<_> = self.tried.drain().map(|it| it.1).collect();
        tried.sort_unstable();
        let again = |it: &usize| !matches!(self.errands[*it], Errand::Send(.., false));
        self.open.extend(tried.into_iter().filter(again));
    }

    /// Returns the next submission of an event.
    pub(super) fn write(&mut self, name: u32) -> Box<[u8]> {
        self.sent += 1;
        let sent = self.sent;
        Stamp { name, sent }.write()
    }
}

pub(super) fn name(account: Account, id: &str) -> Name {
    Name {
        namespace: NAMESPACES[namespace(account)].into(),
        workflow: WORKFLOWS[workflow(account)].into(),
        id: id.into(),
    }
}

/// Whoever asks is known by the ticket: so is the row of the audit.
pub(super) fn by(ticket: u64) -> By {
    By {
        actor: Some(ticket.to_string().into()),
        note: None,
    }
}

/// Returns the code that a creation is for: every other one is for the second version.
fn code(account: Account, ticket: u64) -> Code {
    Code {
        namespace: NAMESPACES[namespace(account)].into(),
        workflow: WORKFLOWS[workflow(account)].into(),
        version: VERSIONS[ticket as usize % VERSIONS.len()].into(),
    }
}

impl World {
    /// Tries one errand; returns false if none can be tried.
    pub(super) fn run_errand(&mut self) -> bool {
        if self.outside.open.is_empty() {
            return false;
        }
        let at = self.dice.roll(self.outside.open.len() as u64) as usize;
        let errand = self.outside.open[at];
        // Only whoever has the code creates.
        if let Errand::Create(account, ..) = self.outside.errands[errand] {
            if Some(workflow(account)) == self.missing {
                return false;
            }
        }
        self.outside.open.swap_remove(at);
        self.begin(errand);
        true
    }

    /// Tries all errands that somebody is there for.
    pub(super) fn run_errands(&mut self) {
        for errand in std::mem::take(&mut self.outside.open) {
            let to = match &self.outside.errands[errand] {
                Errand::Create(..) => None,
                Errand::Send(account, id, ..) | Errand::Decide(account, id, ..) => {
                    Some((*account, id))
                }
            };
            match to {
                Some((account, id)) if self.truth.named(account, id).is_none() => {
                    if !self.is_hopeless(account, id) {
                        self.outside.open.push(errand);
                    }
                }
                _ => self.begin(errand),
            }
        }
    }

    fn begin(&mut self, errand: usize) {
        let ticket = self.ticket();
        self.outside.tried.insert(ticket, errand);
        self.try_errand(errand, ticket);
    }

    fn try_errand(&mut self, errand: usize, ticket: u64) {
        let command = match self.outside.errands[errand].clone() {
            Errand::Create(account, newcomers, if_exists, wait) => {
                let items = newcomers
                    .iter()
                    .map(|it| self.item(it, ticket, b"params"))
                    .collect();
                self.creation(account, items, if_exists, wait, ticket)
            }
            Errand::Send(account, id, kind, event, repeats) => {
                let to = name(account, &id);
                let sent = Sent {
                    to,
                    kind: TYPES[kind].into(),
                    payload: Some(self.outside.write(event)),
                };
                let dedup = repeats.then(|| format!("d{event}").into());
                match dedup {
                    Some(dedup) if asks(event) => Command::Request(ticket, Box::new(sent), dedup),
                    dedup => Command::Send(ticket, Box::new(sent), dedup),
                }
            }
            Errand::Decide(account, id, approval, approved) => {
                let decision = Decision {
                    approval,
                    of: name(account, &id),
                    name: "op".into(),
                    approved,
                    decision: ticket.to_le_bytes().into(),
                    by: by(ticket),
                };
                Command::Decide(ticket, Box::new(decision))
            }
        };
        self.submit(command);
    }

    fn item(&mut self, newcomer: &Newcomer, ticket: u64, params: &[u8]) -> NewItem {
        let keep = self.truth.plan.keep(&mut self.dice);
        NewItem {
            id: Some(newcomer.id.as_str().into()),
            params: Some(params.into()),
            priority: newcomer.priority,
            start_at: newcomer.delay.map(|it| self.now + it),
            attributes: Some(ticket.to_le_bytes().into()),
            keep,
            schedule: None,
        }
    }

    fn creation(
        &mut self,
        account: Account,
        mut items: Vec<NewItem>,
        if_exists: IfExists,
        wait: Option<bool>,
        ticket: u64,
    ) -> Command {
        match wait {
            None => {
                let item = items.pop().expect("there is one");
                Command::Create(ticket, Box::new((code(account, ticket), item)), if_exists)
            }
            Some(wait) => {
                // Twice in one batch counts twice for the room it needs.
                let room = self.truth.plan.queue_of(account) as usize;
                if items.len() < room && self.dice.once_in(4) {
                    items.extend(items.first().cloned());
                }
                let what = Box::new((code(account, ticket), items));
                Command::CreateBatch(ticket, what, if_exists, wait)
            }
        }
    }

    /// Somebody else creates an instance of the same id.
    pub(super) fn rival(&mut self) -> bool {
        let (account, id) = self
            .dice
            .pick(&self.outside.roots.iter().collect::<Vec<_>>())
            .clone();
        if Some(workflow(account)) == self.missing {
            return false;
        }
        let newcomer = Newcomer {
            id,
            priority: 1,
            delay: None,
        };
        let ticket = self.ticket();
        let items = vec![self.item(&newcomer, ticket, b"rival")];
        let if_exists =
            self.dice
                .pick(&[IfExists::Raise, IfExists::Return, IfExists::ReturnIfSame]);
        let wait = self.dice.once_in(2).then_some(false);
        let command = self.creation(account, items, if_exists, wait, ticket);
        self.submit(command);
        true
    }

    /// Somebody who gives no id creates, once or several times.
    pub(super) fn strangers(&mut self) -> bool {
        let at = self.dice.roll(self.outside.roots.len() as u64) as usize;
        let account = self.outside.roots[at].0;
        if Some(workflow(account)) == self.missing {
            return false;
        }
        for _ in 0..=self.dice.roll(3) {
            let ticket = self.ticket();
            let item = NewItem {
                priority: self.dice.pick(&[0, 0, 5]),
                start_at: self.dice.once_in(8).then_some(self.now + 2),
                attributes: Some(ticket.to_le_bytes().into()),
                ..NewItem::default()
            };
            let what = Box::new((code(account, ticket), item));
            self.submit(Command::Create(ticket, what, IfExists::Raise));
        }
        true
    }

    /// A creation that is under way is given up, and tried again another time.
    pub(super) fn give_up(&mut self) -> bool {
        let creates = |it: &usize| matches!(self.outside.errands[*it], Errand::Create(..));
        let tried = self.outside.tried.iter().filter(|it| creates(it.1));
        let mut tickets: Vec<u64> = tried.map(|it| *it.0).collect();
        tickets.sort_unstable();
        if tickets.is_empty() {
            return false;
        }
        let ticket = self.dice.pick(&tickets);
        let errand = self.outside.tried.remove(&ticket);
        self.outside.open.extend(errand);
        self.submit(Command::GiveUp(ticket));
        true
    }

    /// An event that arrived is sent once more.
    pub(super) fn repeat(&mut self) -> bool {
        if self.outside.arrived.is_empty() {
            return false;
        }
        let errand = self.dice.pick(&self.outside.arrived);
        let ticket = self.ticket();
        self.try_errand(errand, ticket);
        true
    }

    /// Somebody sets limits; with nonsense among them the whole change is refused.
    pub(super) fn set_limits(&mut self, change: Change, nonsense: bool) {
        let ticket = self.ticket();
        let values = |changes: &[(Limit, Option<u32>)]| -> Vec<(Box<str>, Option<f64>)> {
            let named = changes.iter().map(|(limit, value)| (limit.name(), value));
            named
                .map(|(name, value)| (name.into(), value.map(f64::from)))
                .collect()
        };
        let (of, own, mut changes) = match &change {
            Change::Live(of, changes) => (*of, None, values(changes)),
            Change::Own(of, changes) => (namespace(*of), Some(workflow(*of)), values(changes)),
            Change::Base(of, base) => {
                let base = LIMITS.iter().zip(base).map(|it| (it.0 .0, *it.1));
                (*of, None, values(&base.collect::<Vec<_>>()))
            }
        };
        let namespace = NAMESPACES[of].into();
        let opens = matches!(change, Change::Base(..));
        if nonsense {
            changes.push(("concurrency".into(), Some(0.0)));
        } else {
            self.truth.said.changes.insert(ticket, change);
        }
        self.submit(if opens {
            Command::OpenNamespace(ticket, namespace, changes)
        } else {
            let what = LimitChange {
                namespace,
                workflow: own.map(|it| WORKFLOWS[it].into()),
                changes,
                by: by(ticket),
            };
            Command::SetLimits(ticket, Box::new(what))
        });
    }

    /// There is room in every queue.
    pub(super) fn make_room(&mut self) {
        for account in 0..ACCOUNTS {
            let more = (Limit::QueueEntries, Some(1_000));
            self.set_limits(Change::Own(account, vec![more]), false);
        }
    }

    /// Somebody pauses an instance, in whatever state.
    pub(super) fn pause_one(&mut self) -> bool {
        self.act_on_one(|_| true, Verb::Pause)
    }

    /// Somebody resumes what is blocked or paused, whether there is code for it or not, sometimes
    /// as another version, or as one that nobody has.
    pub(super) fn resume_blocked(&mut self) -> bool {
        let as_another = self.dice.once_in(3);
        let verb = if as_another {
            let version = self.dice.pick(&[VERSIONS[0], VERSIONS[1], "none"]);
            Verb::ResumeAs(Box::new(Anew {
                version: Some(version.into()),
                ..Anew::default()
            }))
        } else {
            Verb::Resume
        };
        self.act_on_one(
            |it| it.status == Status::Blocked || it.status.is_paused(),
            verb,
        )
    }

    /// Somebody ends an instance, of whatever kind and in whatever state.
    pub(super) fn terminate_one(&mut self) -> bool {
        self.act_on_one(|_| true, Verb::Terminate("somebody".into()))
    }

    /// Somebody does not want to wait for the next attempt.
    pub(super) fn retry_one(&mut self) -> bool {
        let retries = |it: &Truly| {
            it.waits
                .iter()
                .any(|it| matches!(it.source, Source::Retry(_)))
        };
        self.act_on_one(retries, Verb::RetryNow)
    }

    /// Somebody says what a step that is between two attempts has come to.
    pub(super) fn resolve_one(&mut self) -> bool {
        let delay = |it: &Truly| {
            let waits = it.waits.iter();
            let mut delays = waits.filter(|it| matches!(it.source, Source::Retry(_)));
            delays.next().map(|it| it.operation.clone())
        };
        let Some(no) = self.some_instance(|it| delay(it).is_some()) else {
            return false;
        };
        let operation = delay(&self.truth.all[&no]).expect("it was chosen for that");
        let resolution = Resolution {
            operation,
            verdict: Verdict::Done,
            payload: b"value".as_slice().into(),
        };
        self.act_on(no, Verb::Resolve(Box::new(resolution)));
        true
    }

    /// Somebody changes the place of an instance that is queued, or was until a moment ago.
    pub(super) fn place_one(&mut self) -> bool {
        let verb = match self.dice.roll(3) {
            0 => Verb::StartNow,
            _ => Verb::SetPriority(self.dice.pick(&[0, 5, -5, 100])),
        };
        self.act_on_one(|it| it.place.is_some(), verb)
    }

    pub(super) fn some_instance(&mut self, which: impl Fn(&Truly) -> bool) -> Option<InstanceNo> {
        let all = self.truth.all.values().filter(|it| which(it));
        let mut all: Vec<_> = all.map(|it| it.no).collect();
        all.sort_unstable();
        (!all.is_empty()).then(|| self.dice.pick(&all))
    }

    pub(super) fn act_on(&mut self, no: InstanceNo, verb: Verb) {
        let it = &self.truth.all[&no];
        let to = name(it.account, &it.id);
        let ticket = self.ticket();
        let by = by(ticket);
        self.submit(Command::Act(ticket, Box::new(Deed { to, verb, by })));
    }

    /// Somebody does this to an instance of this kind.
    pub(super) fn act_on_one(&mut self, which: impl Fn(&Truly) -> bool, verb: Verb) -> bool {
        let Some(no) = self.some_instance(which) else {
            return false;
        };
        self.act_on(no, verb);
        true
    }

    /// An answer came.
    pub(super) fn answered(&mut self, ticket: u64, code: &str, data: &Data) {
        self.life.parts.remove(&ticket);
        let Some(errand) = self.outside.tried.remove(&ticket) else {
            return;
        };
        let again = match (&self.outside.errands[errand], code) {
            // One that was there was deleted while it was looked at.
            (_, "overloaded") | (Errand::Create(..), "not_found") => true,
            (Errand::Send(account, id, ..) | Errand::Decide(account, id, ..), "not_found") => {
                !self.is_hopeless(*account, id)
            }
            (Errand::Create(..), "" | "exists" | "same_id_other_params")
            | (Errand::Send(..) | Errand::Decide(..), "" | "state") => false,
            (errand, _) => panic!("{errand:?} was refused: {code} {data:?}"),
        };
        if again {
            self.outside.open.push(errand);
        } else if matches!(self.outside.errands[errand], Errand::Send(.., true)) {
            self.outside.arrived.push(errand);
        }
    }

    /// Whether an instance will never exist: whoever would create it has ended.
    fn is_hopeless(&self, account: Account, id: &str) -> bool {
        if self.truth.named(account, id).is_some() {
            return false;
        }
        // Who has its id after that is somebody else.
        if self.truth.was_deleted(account, id) {
            return true;
        }
        let (mut account, mut id) = (account, id);
        while let Some((parent, _)) = id.rsplit_once('.') {
            let before = |it: &Account| account_of_children(*it) == account;
            account = (0..ACCOUNTS).find(before).expect("it has a parent");
            id = parent;
            if let Some(parent) = self.truth.named(account, id) {
                return parent.status.is_final();
            }
            if self.truth.was_deleted(account, id) {
                return true;
            }
        }
        false
    }
}

/// Whether an event with this name wants an answer, if it is repeated.
pub(super) fn asks(event: u32) -> bool {
    !event.is_multiple_of(3)
}
