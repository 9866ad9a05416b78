//! What the seeded simulation has found, each as short as it can be told.

use super::*;
use crate::engine::recovery::MISSING_CODE;
use crate::submission::Why;
use crate::wait::ApprovalStatus;

fn roomy(slots: u32) -> Config {
    Config {
        slots,
        limits: limits(100, 100, 10),
        ..config()
    }
}

impl Stage {
    /// One batch and no more, though there may be work left.
    fn once(&mut self, submissions: Vec<Submission>) -> Applied {
        self.core.begin(self.now);
        for submission in submissions {
            let later = self.core.decide(submission, &mut self.facts);
            assert_eq!(later.expect("memory is read"), None);
        }
        self.commit()
    }

    fn stored(&mut self, id: &str) -> crate::store::Row {
        let row = self.facts.store.find("default", "w", id);
        row.expect("memory is read").expect("it is there")
    }

    /// Opens a wait and blocks its body.
    fn ask_and_block(&mut self, by: Body, until: i64) {
        let source = Source::Approval("w/a#ask#1".into());
        let wait = Box::new(self.wait(Kind::Approval, source, until));
        let why = b"why".as_slice().into();
        self.say(vec![
            Submission::Ask(by, wait, None),
            Submission::Block(by, Why::from("nondeterminism"), why),
        ]);
    }

    fn approval(&mut self) -> (ApprovalStatus, bool) {
        let approval = self.facts.store.approval("w/a#ask#1");
        let approval = approval.expect("memory is read").expect("it is there");
        (approval.status, approval.decision.is_some())
    }
}

fn resume(ticket: u64) -> Submission {
    Submission::Resume(ticket, Box::new(name("a")))
}

fn children(ticket: u64, by: Body, id: &str) -> Submission {
    let child = Child {
        by,
        operation: operation(Kind::CreateBatch),
        workflow: "w".into(),
        version: "1".into(),
        items: vec![item(id)],
        payload: None,
    };
    Submission::CreateChildren(ticket, Box::new(child))
}

fn scheduled(ticket: u64, id: &str, start_at: i64) -> Submission {
    let item = NewItem {
        start_at: Some(start_at),
        ..item(id)
    };
    Submission::Create(ticket, Box::new((code(), item)), IfExists::Raise)
}

#[test]
fn c10_one_that_is_to_start_later_needs_a_place_though_slots_are_free() {
    let mut stage = Stage::with(Config {
        limits: limits(100, 1, 10),
        ..config()
    });
    let applied = stage.say(vec![scheduled(1, "a", 500), scheduled(2, "b", 500)]);
    assert_eq!(codes(&applied.notes), [(1, ""), (2, "overloaded")]);
    // Those that start at once need none.
    assert_eq!(codes(&stage.say(vec![create(3, "c")]).notes), [(3, "")]);
    let later = |id| NewItem {
        start_at: Some(500),
        ..item(id)
    };
    stage.now = 600;
    stage.say(vec![]);
    let many = Box::new((code(), vec![item("d"), later("e")]));
    stage.now = 400;
    let batch = Submission::CreateBatch(4, many, IfExists::Raise, false);
    assert_eq!(codes(&stage.say(vec![batch]).notes), [(4, "overloaded")]);
}
