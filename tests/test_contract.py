"""What `_core.pyi` says of calls and notes, asked of the core itself: a second core would have to
pass this."""

import select
from typing import Any

import pytest

from stepwell import _core

SECOND = 1_000_000
COMPLETE, ERRORED = map(_core.STATES.index, ("complete", "errored"))


class Line:
    """A core on a virtual clock, with all that it has told, and one body at the other end."""

    def __init__(self, slots: int = 8) -> None:
        self.core = _core.Core.open(
            ":memory:", name="test", workflows=[("w", "1")], shards=1, slots=slots,
            namespace="default", limits=[], workflow_limits=[], retentions=[], formerly=[],
            virtual_time=SECOND,
        )  # fmt: skip
        self.heard()

    def __enter__(self) -> "Line":
        return self

    def __exit__(self, *_: object) -> None:
        self.core.crash()

    def heard(self, starts: int | None = None) -> list[tuple[Any, ...]]:
        """Lets all that was submitted be done; returns the notes of it, but IDLE."""
        self.polls: list[list[tuple[Any, ...]]] = []
        self.core.flush()
        while True:
            self.polls.append(self.core.poll(starts))
            if not self.polls[-1]:
                if not self.core.busy():
                    return [it for poll in self.polls for it in poll if it[0] != _core.IDLE]
                select.select([self.core.fileno()], [], [], 10)

    def create(self, id: str, priority: int = 0) -> int:
        return self.core.create("default", "w", "1", id, None, priority, None, None, None, "raise")

    def body(self, id: str) -> tuple[int, int]:
        """Begins a body, and returns what it names itself by."""
        self.create(id)
        (_, (_, start)) = self.heard()
        return start[0], start[1]


@pytest.fixture
def line():
    with Line() as line:
        yield line


def kinds(notes: list[tuple[Any, ...]]) -> list[int]:
    return [note[0] for note in notes]


def test_a_creation_is_answered_before_its_body_starts(line):
    ticket = line.create("a")
    reply, start = line.heard()
    no = start[1][0]
    assert reply == (_core.REPLY, ticket, "", (no, "a", True, _core.STATES.index("running")))
    assert start[0] == _core.START
    assert start[1][2:6] == ("default", "w", "1", "a")
    again = line.create("a")
    assert line.heard() == [(_core.REPLY, again, _core.EXISTS, (no, _core.STATES.index("running")))]


def test_records_of_one_commit_are_one_note_and_an_outdated_one_is_fenced(line):
    no, incarnation = line.body("a")
    say = line.core.record
    first = say(no, incarnation, 0, (_core.DO, "", "x", None, 1), 1, _core.OK, 0, b"\1")
    late = say(no, incarnation + 1, 0, (_core.DO, "", "y", None, 1), 1, _core.OK, 0, b"\2")
    last = say(no, incarnation, 0, (_core.DO, "", "z", None, 1), 1, _core.OK, 0, b"\3")
    told = line.heard()
    assert (_core.FENCED, late) in told
    done = [it for note in told if note[0] == _core.DONE for it in zip(*note[2:], strict=True)]
    assert done == [(first, 1), (last, 2)]


@pytest.mark.parametrize("parks", [False, True])
def test_a_quiet_body_hears_nothing_until_it_has_a_slot_and_then_all(line, parks):
    no, incarnation = line.body("a")
    wait = line.core.wait_event(no, incarnation, 0, "", "e", 1, ["e"], 60 * SECOND)
    assert line.heard() == []  # that it is open is not acknowledged
    line.core.quiet(no, incarnation, 0)
    assert line.heard() == []
    if parks:
        assert line.core.park(no, incarnation)
    sent = line.core.send_event("default", "w", "a", "e", b"\5", None)
    told = [note for note in line.heard() if note[:2] != (_core.REPLY, sent)]
    if parks:
        ((_, start),) = told
        assert start[:2] == (no, incarnation)
        (record,) = start[12]
        assert (record[1], record[7], record[11:]) == (_core.EVENT, _core.OK, ("e", b"\5"))
        assert start[13] == ()
        return
    wake, settled = told
    assert wake == (_core.WAKE, no, incarnation)
    assert settled[:3] == (_core.SETTLED, no, wait)
    assert settled[4:7] == (_core.OK, "e", b"\5")


def test_quiet_changes_nothing_for_a_body_that_was_not_told_everything(line):
    no, incarnation = line.body("a")
    line.core.wait_event(no, incarnation, 0, "", "e", 1, ["e"], 60 * SECOND)
    line.core.record(no, incarnation, 0, (_core.DO, "", "x", None, 1), 1, _core.OK, 0, None)
    line.core.sleep(no, incarnation, 0, _core.SLEEP, "", "s", 1, 0)
    (_, settled) = sorted(line.heard())
    assert settled[0] == _core.SETTLED
    line.core.quiet(no, incarnation, settled[3] - 1)
    line.heard()
    assert line.core.peek("default", "w", "a") == _core.STATES.index("running")
    line.core.quiet(no, incarnation, settled[3])
    line.heard()
    assert line.core.peek("default", "w", "a") == _core.STATES.index("waiting")


def test_each_wait_is_settled_once_with_what_the_contract_says(line):
    no, incarnation = line.body("a")
    mine = (no, incarnation, 0, "")
    core, until = line.core, 5 * SECOND
    waits = {
        core.sleep(no, incarnation, 0, _core.SLEEP, "", "s", 1, until): (_core.OK, None),
        core.sleep(no, incarnation, 0, _core.DEADLINE, "", "d", 1, until): (_core.OK, None),
        core.wait_event(*mine, "e", 1, ["e"], until): (_core.TIMED_OUT, None),
        core.wait_approval(*mine, "p", 1, "w/a#p#1", None, until): (_core.TIMED_OUT, None),
        core.wait_child(*mine, "n", 1, "w", "nobody"): (_core.GAVE_UP, _core.NOT_FOUND),
        core.call(*mine, "t", 1, "w", "1", "a", None): (_core.GAVE_UP, _core.EXISTS),
        core.send(*mine, "s", 1, "w", "nobody", "e", None): (_core.GAVE_UP, _core.NOT_FOUND),
        core.create_child(*mine, "c", 1, "w", "1", "a", None, None, b"\0"): (
            _core.GAVE_UP, _core.EXISTS,
        ),
        core.create_children(*mine, "b", 1, "w", "1", [("x", None, None)] * 2, b"\0"): (
            _core.GAVE_UP, _core.EXISTS,
        ),
    }  # fmt: skip
    given_up = core.wait_event(*mine, "never", 1, ["e"], until)
    core.withdraw(no, incarnation, given_up)
    retry = core.retry(no, incarnation, 0, (_core.DO, "", "r", None, 1), 1, 0, b"\6", until)
    told = line.heard()
    core.advance(until)
    told += line.heard()
    assert set(kinds(told)) == {_core.SETTLED}
    found = {note[2]: (note[4], note[5]) for note in told}
    assert len(found) == len(told)
    assert found.pop(retry) == (_core.OK, None)
    assert found == waits
    assert [note[3] for note in told if note[2] == retry] == [0]
    places = [note[3] for note in told if note[3]]
    assert places == sorted(places)


def test_a_child_is_told_of_when_it_ends_and_ends_when_nobody_waits_for_it(line):
    no, incarnation = line.body("a")
    wait = line.core.call(no, incarnation, 0, "", "c", 1, "w", "1", "kid", None)
    dropped = line.core.call(no, incarnation, 0, "", "d", 1, "w", "1", "other", None)
    starts = {note[1][5]: note[1][:2] for note in line.heard()}
    line.core.watch(starts["kid"][0])
    line.core.finish(*starts["kid"], COMPLETE, b"\7", "1")
    settled, changed = line.heard()
    assert settled[:3] == (_core.SETTLED, no, wait)
    assert settled[4:7] == (_core.OK, "1", b"\7")
    assert changed == (_core.CHANGED, starts["kid"][0], COMPLETE, None, b"\7")
    line.core.withdraw(no, incarnation, dropped)
    assert line.heard() == [(_core.UNWIND, *starts["other"])]


def test_as_many_bodies_start_with_one_poll_as_are_asked_for_and_in_their_order(line):
    tickets = [line.create(f"a{n}") for n in range(3)]
    told = line.heard(starts=1)
    assert max(kinds(poll).count(_core.START) for poll in line.polls) == 1
    assert [note[1] for note in told if note[0] == _core.REPLY] == tickets
    begun = [note[1][5] for note in told if note[0] == _core.START]
    assert begun == ["a0", "a1", "a2"]


def test_what_was_acknowledged_is_there_after_a_crash_and_what_was_open_still_is(line):
    no, incarnation = line.body("a")
    line.core.record(no, incarnation, 0, (_core.DO, "", "x", None, 1), 1, _core.OK, 0, b"\1")
    wait = line.core.wait_event(no, incarnation, 0, "", "e", 1, ["e"], 60 * SECOND)
    line.heard()
    line.core.crash()
    line.core = line.core.reopen()
    ((_, start),) = line.heard()
    assert start[:2] == (no, incarnation)
    assert start[11] is True  # it was interrupted
    assert [record[3] for record in start[12]] == ["x"]
    assert [open_wait[0] for open_wait in start[13]] == [wait]


def test_a_call_that_makes_no_sense_raises_and_does_nothing(line):
    with pytest.raises(_core.CoreError) as told:
        line.core.create("default", "w", "1", "a", None, 101, None, None, None, "raise")
    assert told.value.args[0] == "invalid"
    assert line.heard() == []
    line.core.close()
    with pytest.raises(_core.CoreError) as told:
        line.create("a")
    assert told.value.args[0] == "closed"
