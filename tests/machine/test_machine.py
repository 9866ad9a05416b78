"""Whatever is done to instances, in whatever order, and whatever happens to the engine meanwhile:
what it says of them is what the rules say."""

from __future__ import annotations

import functools
import os
import shutil
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import hypothesis
import hypothesis.strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from stepwell import InstanceNotFound, InstanceStatus, StepRecord, StepRef

from .bodies import CODE
from .model import FINAL, Model
from .world import World

EXAMPLES = int(os.environ.get("STEPWELL_MACHINE", "25"))
"""How many runs."""
STEPS = int(os.environ.get("STEPWELL_MACHINE_STEPS", "30"))
"""How many calls each has."""
IDS = st.sampled_from(["a", "b"])
ACTORS = st.sampled_from(["ann", "bob"])
KINDS = st.sampled_from(["go", "stop"])
SECONDS = st.sampled_from([10, 59, 60, 100, 3_600, 90_000])

SIMPLE = st.one_of(
    st.just(["charge"]),
    st.just(["hold"]),
    st.just(["bug"]),
    st.tuples(st.just("sleep"), st.sampled_from([50, 70])).map(list),
    st.tuples(st.just("event"), KINDS, st.sampled_from([55, 5_000])).map(list),
    st.tuples(st.just("approval"), st.sampled_from([65, 6_000])).map(list),
    st.tuples(st.just("attribute"), st.integers(1, 3)).map(list),
)
RUN = st.lists(SIMPLE, min_size=1, max_size=3)
RENEWED = st.tuples(RUN, RUN, st.booleans()).map(
    lambda it: [*it[0], ["new", [*it[1], ["new", it[0]]] if it[2] else it[1]]]
)
"""Some that go on as new, once or twice."""
SCRIPTS = st.one_of(
    st.lists(
        st.one_of(SIMPLE, st.tuples(st.just("call"), RUN).map(list)),
        min_size=1,
        max_size=5,
    ),
    RENEWED,
)


class Seen(NamedTuple):
    """What an engine says of all that it has."""

    of: dict[str, tuple[InstanceStatus | None, list[StepRecord]]]
    listed: list[tuple[str, str, Any]]
    counts: dict[str, int]
    audit: list[tuple[str, str | None, str | None, str]]


class Lifecycle(RuleBasedStateMachine):
    """Calls are drawn; after each, everybody goes on as far as they can, and is looked at."""

    on_disk = False

    def __init__(self) -> None:
        super().__init__()
        self.model = Model()
        self.folder = Path(tempfile.mkdtemp()) if self.on_disk else None
        self.world = World(":memory:" if self.folder is None else str(self.folder / "s.db"), 0)
        self.ids = {"a", "b"}

    def teardown(self) -> None:
        self.world.close()
        if self.folder is not None:
            shutil.rmtree(self.folder)

    # Who is meant.

    def code(self, id: str) -> str:
        """Of whoever has the id, or has had it last."""
        it = self.model.all.get(id)
        return it.code if it is not None else "line"

    def to(self, id: str, method: str, *args: Any, **options: Any) -> Any:
        """Asks something of an instance."""

        async def call() -> Any:
            instance = await self.world.engine.get(self.code(id), id)
            return await getattr(instance, method)(*args, **options)

        return self.world.outcome(call)

    def someone(self, data: st.DataObject) -> str:
        return data.draw(st.sampled_from(sorted({*self.model.all, *self.ids})), "id")

    # What is done.

    @rule(id=IDS, code=st.sampled_from(["line", "line", "keen"]), script=SCRIPTS,
          n=st.sampled_from([None, 7]))  # fmt: skip
    def create(self, id: str, code: str, script: list[Any], n: int | None) -> None:
        other = self.model.all.get(id)
        if other is not None and other.code != code:
            return
        engine = self.world.engine
        attributes = None if n is None else {"n": n}
        got = self.world.outcome(engine.create, code, script, id=id, attributes=attributes)
        refused = self.model.create(code, id, script, n)
        assert (got if isinstance(got, str) else None) == refused

    @precondition(lambda self: self.model.all)
    @rule(data=st.data(), verb=st.sampled_from(["pause", "resume", "terminate", "retry_now"]),
          actor=ACTORS)  # fmt: skip
    def act(self, data: st.DataObject, verb: str, actor: str) -> None:
        id = self.someone(data)
        assert self.to(id, verb, actor=actor) == self.model.act(verb, id, actor)

    @precondition(lambda self: self.model.all)
    @rule(data=st.data(), kind=KINDS, dedup=st.sampled_from([None, None, "once"]))
    def send(self, data: st.DataObject, kind: str, dedup: str | None) -> None:
        id = self.someone(data)
        payload = f"event {self.model.events + 1}"
        got = self.to(id, "send_event", kind, payload, dedup_id=dedup)
        assert got == self.model.send(id, kind, payload, dedup)

    @precondition(lambda self: self.model.all)
    @rule(data=st.data(), count=st.integers(1, 2), approves=st.booleans(), actor=ACTORS)
    def decide(self, data: st.DataObject, count: int, approves: bool, actor: str) -> None:
        id = self.someone(data)
        approvals = self.world.engine.approvals
        call = approvals.approve if approves else approvals.reject
        got = self.world.outcome(call, f"{self.code(id)}/{id}#ok#{count}", by=actor)
        assert got == self.model.decide(id, count, approves, actor)

    @precondition(lambda self: self.model.all)
    @rule(data=st.data(), actor=ACTORS)
    def delete(self, data: st.DataObject, actor: str) -> None:
        id = self.someone(data)
        assert self.to(id, "delete", actor=actor) == self.model.delete(id, actor)

    @precondition(lambda self: self.model.all)
    @rule(data=st.data(), actor=ACTORS, dry_run=st.booleans())
    def restart(self, data: st.DataObject, actor: str, dry_run: bool) -> None:
        id = self.someone(data)
        it = self.model.all.get(id)
        step = data.draw(
            st.sampled_from([None, "failed", *range(len(it.script) if it else 0)]), "step"
        )
        if it is not None and isinstance(step, int) and it.script[step][0] in ("bug", "new"):
            return
        ref: Any = step
        if it is not None and isinstance(step, int):
            kind, name = it.what(step)
            ref = StepRef(name, it.count(step), kind=kind)
        if dry_run:
            self.look_at_restart(id, step, ref)
            return
        got = self.to(id, "restart", from_step=ref, actor=actor)
        assert got == self.model.restart(id, step, actor)

    def look_at_restart(self, id: str, step: Any, ref: Any) -> None:
        got = self.to(id, "restart", from_step=ref, dry_run=True)
        it = self.model.all.get(id)
        kept = "InstanceNotFound" if it is None else self.model.kept(it, step)
        if it is None or isinstance(kept, str):
            assert got == kept
            return
        names = [(line.kind, line.name, line.count) for line in got.kept]
        begun = [("continue_as_new", "run", it.run)] if it.run > 1 else []
        steps = [(*it.what(n), it.count(n)) for n in range(kept) for _ in it.done[n].lines]
        assert names == begun + steps

    @precondition(lambda self: self.model.all)
    @rule(data=st.data(), actor=ACTORS, verb=st.sampled_from(
        ["pause", "resume", "terminate", "retry_now", "restart", "delete", "send_event"]
    ))  # fmt: skip
    def bulk(self, data: st.DataObject, actor: str, verb: str) -> None:
        code = data.draw(st.sampled_from(sorted(CODE)), "code")
        options: dict[str, Any] = {"actor": actor}
        everybody = [it for it in self.model.all.values() if it.code == code]
        if data.draw(st.booleans(), "by ids"):
            options["ids"] = chosen = sorted(self.ids)
        else:
            states = data.draw(st.sampled_from(["all", "waiting", *FINAL, "paused"]), "status")
            options["status"] = states
            if states == "all" and verb not in ("restart", "delete"):
                everybody = [it for it in everybody if it.status not in FINAL]
            chosen = [it.id for it in everybody if states in ("all", it.status)]
        details: list[Any] = []
        engine, method = self.world.engine, verb
        if verb == "restart":
            details = [data.draw(st.sampled_from([None, "failed"]), "from")]
            options["from_step"] = details[0]
        if verb == "send_event":
            details, method = ["go", f"event to {code}"], "send_event_all"
            call = functools.partial(engine.send_event_all, *details, workflow=code)
        else:
            call = functools.partial(getattr(engine, method), code)
        got = self.world.ask(call, **options)
        done, refused = self.model.bulk(verb, [*self.of_code(code, chosen)], actor, *details)
        errors = [(it.id, type(it.error).__name__) for it in got.errors]
        assert (got.done, errors) == (
            done,
            [(id.removeprefix("no "), error) for id, error in refused],
        )

    def of_code(self, code: str, chosen: list[str]) -> list[str]:
        """An id is another instance's in another workflow, or nobody's."""
        return [id if self.code(id) == code else f"no {id}" for id in chosen]

    @rule()
    def release(self) -> None:
        self.world.ask(self.world.release)
        self.model.release()

    @rule(broken=st.booleans(), bug=st.booleans())
    def deploy(self, broken: bool, bug: bool) -> None:
        self.world.stage.is_broken = self.model.is_broken = broken
        self.world.stage.has_bug = self.model.has_bug = bug

    @rule(seconds=SECONDS)
    def advance(self, seconds: int) -> None:
        self.world.advance(seconds)
        self.model.advance(seconds)

    @precondition(lambda self: self.model.may_crash())
    @rule()
    def crash(self) -> None:
        self.world.ask(self.world.crash)
        self.model.crash()

    @precondition(lambda self: self.on_disk)
    @rule()
    def reopen(self) -> None:
        self.world.reopen()
        self.model.close()

    # What is looked at.

    @invariant()
    def all_is_as_the_rules_say(self) -> None:
        self.world.settle()
        self.model.settle()
        self.ids |= set(self.model.all)
        seen = self.world.ask(self.seen)
        for id, (status, history) in seen.of.items():
            self.compare(id, status, history)
        every = list(self.model.all.values())
        assert seen.listed == [(it.id, it.status, it.n) for it in every]
        assert seen.counts == Counter(it.status for it in every)
        assert seen.audit == self.model.audit
        self.look_at_attempts()

    async def seen(self) -> Seen:
        """All that is looked at."""
        engine = self.world.engine
        of: dict[str, tuple[InstanceStatus | None, list[StepRecord]]] = {}
        for id in sorted(self.ids):
            try:
                instance = await engine.get(self.code(id), id)
            except InstanceNotFound:
                of[id] = (None, [])
            else:
                of[id] = (await instance.status(), await instance.history())
        listed = (await engine.list(newest_first=False)).items
        counts = await engine.count()
        rows = (await engine.audit(limit=1_000)).items
        return Seen(
            of,
            [(it.id, it.status, it.attributes.get("n")) for it in listed],
            {status: count for status, count in counts.items() if count},
            [(it.operation, it.id, it.actor, it.result) for it in reversed(rows)],
        )

    def compare(self, id: str, status: InstanceStatus | None, history: list[StepRecord]) -> None:
        it = self.model.all.get(id)
        if it is None or status is None:
            assert (status, it) == (None, None), id
            return
        error = None
        if status.error is not None and status.status != "terminated":
            error = status.error.type.rpartition(".")[2]
        assert (status.status, status.output, error) == (it.status, it.output, it.error), id
        lines = [(at.kind, at.name, at.count, at.attempt, at.status) for at in history]
        assert lines == it.history(), id

    def look_at_attempts(self) -> None:
        """Each began as often as the rules say, and a step keeps its key until its instance is
        begun anew from the start."""
        keys = [(id, name, n, key, attempt) for id, name, n, attempt, key in self.world.stage.keys]
        draws = [(id, name, n, draw, attempt) for id, draw, name, n, attempt in self.model.ran]
        assert by_label(keys) == by_label(draws)


def by_label(attempts: list[tuple[str, str, int, Any, int]]) -> list[Any]:
    """Returns the attempts of each step that go under one label, whatever that is called."""
    found: dict[Any, list[int]] = {}
    for *step, attempt in attempts:
        found.setdefault(tuple(step), []).append(attempt)
    return sorted((id, name, count, sorted(them)) for (id, name, count, _), them in found.items())


def run(machine: type[Lifecycle], examples: int) -> None:
    settings = hypothesis.settings(
        max_examples=examples, stateful_step_count=STEPS, deadline=None,
        suppress_health_check=list(hypothesis.HealthCheck), report_multiple_bugs=False,
    )  # fmt: skip
    run_state_machine_as_test(machine, settings=settings)


def test_in_memory() -> None:
    run(Lifecycle, EXAMPLES)


class OnDisk(Lifecycle):
    """The same on a store that is closed and opened again."""

    on_disk = True


def test_on_disk() -> None:
    run(OnDisk, EXAMPLES)
