//! A full disk under the engine with its threads: what waits, what is refused, and that it goes on.

mod running;

use std::time::{Duration, Instant};

use stepwell_core::history::{Kind, Operation, Record, Verdict};
use stepwell_core::lifecycle::Status;
use stepwell_core::note::{Data, Note};
use stepwell_core::runtime::{Engine, Question};
use stepwell_core::store::memory::MemoryStore;
use stepwell_core::submission::{
    Body, Code, Command, IfExists, Name, NewItem, Speech, Submission, Verb,
};

use running::config;

fn open(store: &MemoryStore) -> Engine {
    Engine::open_memory(store, config(), Some(1_000)).expect("it opens")
}

/// Polls until a note fits; returns it. What comes before it is kept.
struct Notes<'e>(&'e Engine, Vec<Note>);

impl Notes<'_> {
    fn until(&mut self, fits: impl Fn(&Note) -> bool) -> Note {
        let began = Instant::now();
        loop {
            if let Some(at) = self.1.iter().position(&fits) {
                return self.1.remove(at);
            }
            assert!(began.elapsed() < Duration::from_secs(10), "{:?}", self.1);
            self.1.extend(self.0.poll());
            std::thread::yield_now();
        }
    }

    fn reply(&mut self, to: u64) -> (&'static str, Data) {
        match self.until(|it| matches!(it, Note::Reply { ticket, .. } if *ticket == to)) {
            Note::Reply { code, data, .. } => (code, data),
            other => unreachable!("{other:?}"),
        }
    }

    fn hindered(&mut self) -> (bool, String) {
        match self.until(|it| matches!(it, Note::Hindered { .. })) {
            Note::Hindered { now, message } => (now, message),
            other => unreachable!("{other:?}"),
        }
    }
}

fn code() -> Code {
    Code {
        namespace: "default".into(),
        workflow: "w".into(),
        version: "1".into(),
    }
}

fn item(id: &str) -> NewItem {
    NewItem {
        id: Some(id.into()),
        ..NewItem::default()
    }
}

fn create(engine: &Engine, id: &str) -> u64 {
    let ticket = engine.draw_ticket();
    let what = Box::new((code(), item(id)));
    let submission = Submission::Outside(Command::Create(ticket, what, IfExists::Return));
    engine.submit(submission).expect("there is room");
    ticket
}

fn create_batch(engine: &Engine, id: &str, wait: bool) -> u64 {
    let ticket = engine.draw_ticket();
    let what = Box::new((code(), vec![item(id)]));
    let submission = Submission::Outside(Command::CreateBatch(ticket, what, IfExists::Raise, wait));
    engine.submit(submission).expect("there is room");
    ticket
}

fn record(engine: &Engine, by: Body, name: &str) -> u64 {
    let ticket = engine.draw_ticket();
    let record = Record {
        operation: Operation {
            kind: Kind::Do,
            branch: "".into(),
            name: name.into(),
            key: None,
            count: 1,
        },
        attempt: 1,
        verdict: Verdict::Done,
        started_at: 0,
        at: 0,
        begun: None,
        erases: None,
        moment: None,
        event: None,
        event_type: None,
        payload: None,
    };
    let submission = by.says(Speech::Record(ticket, record));
    engine.submit(submission).expect("there is room");
    ticket
}

fn name(id: &str) -> Name {
    Name {
        namespace: "default".into(),
        workflow: "w".into(),
        id: id.into(),
    }
}

fn figure(engine: &Engine, name: &str) -> u64 {
    let figures = engine.statistics();
    figures
        .iter()
        .find(|it| it.0 == name)
        .expect("it is kept")
        .1
}

fn is_done(note: &Note, ticket: u64) -> bool {
    matches!(note, Note::Done { tickets, .. } if tickets.contains(&ticket))
}

const REFUSED: (&str, Data) = ("overloaded", Data::Overloaded("disk", 1_000_000));

#[test]
fn what_runs_waits_for_room_creations_are_refused_and_it_goes_on_by_itself() {
    let store = MemoryStore::new();
    let engine = open(&store);
    let mut notes = Notes(&engine, Vec::new());
    create(&engine, "a");
    let Note::Start(start) = notes.until(|it| matches!(it, Note::Start(_))) else {
        unreachable!("it was asked for");
    };
    let by = Body {
        no: start.no,
        incarnation: start.incarnation,
    };
    assert_eq!(figure(&engine, "disk_full"), 0);
    store.set_full(true);
    let first = record(&engine, by, "first");
    assert!(notes.hindered().0);
    notes.1.retain(|it| *it != Note::Idle); // from before
    assert_eq!(figure(&engine, "disk_full"), 1);
    // Refused at once, also a name that exists: nothing can be decided now.
    let refused = create(&engine, "b");
    assert_eq!(notes.reply(refused), REFUSED);
    let refused = create_batch(&engine, "c", false);
    assert_eq!(notes.reply(refused), REFUSED);
    let patient = create_batch(&engine, "d", true);
    let second = record(&engine, by, "second");
    let ring = engine.arm(500);
    engine.advance(2_000);
    notes.until(|it| *it == Note::Timer { ticket: ring });
    assert_eq!(engine.peek("default", "w", "a"), Some(Status::Running));
    let ask = Question::Find(name("a"), false);
    let ticket = engine.ask(ask).expect("it is open");
    assert!(matches!(notes.reply(ticket), ("", Data::Row(Some(_)))));
    assert!(engine.is_busy(), "virtual time must not run away");
    notes.1.extend(engine.poll());
    let told = |it: &Note| is_done(it, first) || is_done(it, second) || *it == Note::Idle;
    assert!(!notes.1.iter().any(told), "{:?}", notes.1);

    store.set_full(false);
    notes.until(|it| is_done(it, first));
    notes.until(|it| is_done(it, second));
    let (code, _) = notes.reply(patient);
    assert_eq!(code, "");
    assert!(!notes.hindered().0);
    assert_eq!(figure(&engine, "disk_full"), 0);
    let again = create(&engine, "b");
    assert_eq!(notes.reply(again).0, "");
    notes.1.extend(engine.poll());
    let more = |it: &Note| matches!(it, Note::Hindered { .. } | Note::Failed { .. });
    assert!(!notes.1.iter().any(more), "each is said once");
    engine.close().expect("it closes");
}

#[test]
fn an_engine_closed_on_a_full_disk_says_so_and_loses_nothing_acknowledged() {
    let store = MemoryStore::new();
    let engine = open(&store);
    let mut notes = Notes(&engine, Vec::new());
    create(&engine, "a");
    let Note::Start(start) = notes.until(|it| matches!(it, Note::Start(_))) else {
        unreachable!("it was asked for");
    };
    let by = Body {
        no: start.no,
        incarnation: start.incarnation,
    };
    let kept = record(&engine, by, "kept");
    notes.until(|it| is_done(it, kept));
    store.set_full(true);
    record(&engine, by, "lost");
    notes.hindered();
    let error = engine.close().unwrap_err();
    assert!(error.message.contains("Nothing acknowledged"), "{error}");
    store.set_full(false);
    let engine = engine.reopen().expect("it opens again");
    let mut notes = Notes(&engine, Vec::new());
    let Note::Start(start) = notes.until(|it| matches!(it, Note::Start(_))) else {
        unreachable!("it was asked for");
    };
    let names = start.records.iter().map(|it| &*it.record.operation.name);
    assert_eq!(names.collect::<Vec<_>>(), ["kept"]);
}

#[test]
fn a_disk_that_is_full_when_the_engine_is_crashed_ends_it_at_once() {
    let store = MemoryStore::new();
    let engine = open(&store);
    create(&engine, "a");
    let mut notes = Notes(&engine, Vec::new());
    notes.until(|it| matches!(it, Note::Start(_)));
    store.set_full(true);
    let event = Submission::Outside(Command::Act(
        engine.draw_ticket(),
        Verb::Resume.to(name("a")),
    ));
    engine.submit(event).expect("there is room");
    create_batch(&engine, "b", true);
    notes.hindered();
    engine.crash();
    store.set_full(false);
    let engine = engine.reopen().expect("it opens again");
    assert_eq!(engine.peek("default", "w", "b"), None);
}

#[test]
fn a_batch_that_waits_is_let_in_when_the_disk_has_room_again_though_nothing_else_happens() {
    let store = MemoryStore::new();
    let engine = open(&store);
    let mut notes = Notes(&engine, Vec::new());
    store.set_full(true);
    // Whatever makes the writer look.
    let nobody = Name {
        namespace: "default".into(),
        workflow: "w".into(),
        id: "nobody".into(),
    };
    let ticket = engine.draw_ticket();
    let resume = Submission::Outside(Command::Act(ticket, Verb::Resume.to(nobody)));
    engine.submit(resume).expect("there is room");
    assert_eq!(notes.reply(ticket).0, "not_found");
    assert!(notes.hindered().0);
    let waiting = create_batch(&engine, "a", true);
    let refused = create_batch(&engine, "b", false);
    assert_eq!(notes.reply(refused).0, "overloaded");
    store.set_full(false);
    assert!(!notes.hindered().0);
    assert_eq!(notes.reply(waiting).0, "");
    engine.close().expect("it ends");
}
