"""A handle on one instance: where it stands, how it ended, what it has recorded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, NoReturn, Self, TypeVar

from . import _diagnosis, _explanation, _past, _standing
from ._answers import Telling, not_found, standing_of, state_codes, unreadable
from ._draining import DRAINED
from ._errors import EngineClosed, InstanceErrored, InstanceTerminated, InvalidConfig, InvalidState, StepwellError
from ._log import log
from ._look import Look, Wait
from ._replay import DO, ERASED, INTERRUPTED, OK
from ._types import FINAL, KINDS, STATUSES, VERDICTS, Explanation, InstanceStatus, Status, StatusName, StepRecord, StepRef
from ._values import names
from ._values.codec import Undecodable, codec
from ._values.durations import from_us
from ._values.failures import error_info

if TYPE_CHECKING:
    from ._driver import Driver
    from ._standing import Standing
    from ._tenant import Tenant
    from ._workflow import Workflow

R_co = TypeVar("R_co", covariant=True)


_ENDED_OR_BLOCKED = FINAL | {Status.BLOCKED}


class Instance(Generic[R_co]):
    """One durable execution of a workflow. Get one from `Engine.create` or `Engine.get`.

    Attributes:
        id: Its id.
        workflow: Name of its workflow.
    """

    __slots__ = ("_no", "_tenant", "_workflow", "id")

    def __init__(self, tenant: Tenant, workflow: Workflow[Any, R_co], id: str, no: int) -> None:
        self._tenant = tenant
        self._workflow = workflow
        self._no = no
        self.id = id

    @property
    def workflow(self) -> str:
        """Name of its workflow."""
        return self._workflow.name

    def __eq__(self, other: object) -> bool:
        """Whether both are handles on one instance, of one engine."""
        return isinstance(other, Instance) and self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())

    def _key(self) -> tuple[int, str, str, str]:
        engine = getattr(self._tenant, "_engine", self._tenant)  # an engine is a tenant, too
        return (id(engine), self._tenant._namespace, self.workflow, self.id)

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, _: Any) -> Self:
        return self

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            f"a handle on an instance belongs to its engine and cannot be pickled. Pass {self.workflow!r} and {self.id!r} along, "
            "and ask `engine.get` there."
        )

    def __repr__(self) -> str:
        return f"<instance {self.workflow}/{self.id}>"

    async def status(self) -> InstanceStatus:
        """Returns where the instance stands.

        Of an output that cannot become the type its workflow returns today, `error` says so in its place; `result` raises that.

        Raises:
            InstanceNotFound: It is gone.
            EngineClosed: The engine is not open.
        """
        look = await self._tenant._look(self.workflow, self.id, payloads=True, method="instance.status")
        return standing_of(look, self._workflow.output)

    def _output(self, payload: bytes | None) -> R_co:
        try:
            given: Any = None if payload is None else self._workflow.output.decode(payload, "output")
        except Undecodable as error:
            raise unreadable(self.workflow, self.id, "output", error, payload) from error.__cause__
        return given  # type: ignore[no-any-return]  # it is an R_co

    async def result(self) -> R_co:
        """Waits until the instance has ended and returns its output.

        Raises:
            InstanceErrored: It errored; the text ends with the recorded error's own.
            InstanceTerminated: It was terminated.
            InvalidPayload: It is complete, and its output cannot become the type that its workflow returns today; `payload` has it plain.
            InstanceNotFound: It is gone.
            EngineClosed: The engine was closed meanwhile.
        """
        status, payload = await self._until(_ENDED_OR_BLOCKED, "instance.result")
        if status is Status.BLOCKED:  # it may still be resumed; whoever waits should know what for
            log.warning("waiting for the result of a blocked instance: %s", await self.explain())
            status, payload = await self._until(FINAL, "instance.result")
        if status is Status.COMPLETE:
            return self._output(payload)
        info = Telling(self.workflow, self.id).failure(payload)
        text = f": {info}" if info is not None else ""
        if status is Status.ERRORED:
            raise InstanceErrored(f"{self.workflow}/{self.id} failed{text}", error=info)
        raise InstanceTerminated(f"{self.workflow}/{self.id} was terminated{text}", error=info)

    async def wait_for_status(self, *statuses: Status | StatusName) -> Status:
        """Waits until the instance is in one of these states and returns it.

        Args:
            statuses: At least one.

        Raises:
            InvalidState: It has ended in another state, so none of them can come any more.
            InvalidConfig: One of them is no state.
            InstanceNotFound: It is gone.
        """
        wanted = frozenset(STATUSES[code] for code in state_codes(statuses))
        if not wanted:
            raise InvalidConfig("wait_for_status was given no state to wait for; give at least one.")
        status, _ = await self._until(wanted, "instance.wait_for_status")
        return status

    async def _until(self, wanted: frozenset[Status], method: str) -> tuple[Status, bytes | None]:
        """Waits for one of these states; a state that is passed through is seen even if it lasts no time."""
        driver = self._tenant._ready(method)
        watch = driver.watch(self._no, wanted)
        try:
            state = self._tenant.peek(self.workflow, self.id)
            news = await watch.next() if state is not None and state not in wanted else None
            while news is None:
                look = await self._tenant._look(self.workflow, self.id, payloads=True)
                news = (look.status, look.result)
                if news[0] not in wanted and not news[0].is_final:
                    news = await watch.next()
        finally:
            watch.close()
        status, payload = news
        if status not in wanted:
            names = ", ".join(sorted(s.value for s in wanted))
            raise InvalidState(f"{self.workflow}/{self.id} is {status.value}; it cannot become {names} any more", status=status)
        return status, payload

    async def wait_for_step(self, name: str, *, count: int = 1) -> None:
        """Waits until a step of this name has been recorded `count` times. For tests.

        Raises:
            InvalidName: No step can have this name.
            InvalidState: The instance has ended without it.
            InstanceNotFound: It is gone.
            EngineClosed: The engine was closed, or drained, meanwhile.
        """
        driver = self._tenant._ready("instance.wait_for_step")
        names.step_name(name)
        while True:
            changed = driver.next_record()
            look, records = await self._records()
            done = sum(r[3] == name and r[7] == OK for r in records)
            if done >= count:
                return
            if look.status.is_final:
                raise InvalidState(
                    f'{self.workflow}/{self.id} is {look.status.value}; "{name}" was recorded {done} times', status=look.status
                )
            if driver.drained:
                raise EngineClosed(DRAINED)
            await changed.wait()

    async def send_event(self, type: str, payload: Any = None, *, dedup_id: str | None = None) -> None:
        """Sends the instance an event; it is durable when this returns, and delivered once.

        Args:
            type: The event's type.
            payload: Storable data.
            dedup_id: A second event with the same one changes nothing, also one of another type: an id stands for one event of this
                instance. 1 to 256 characters.

        Raises:
            InvalidState: The instance is final.
            InstanceNotFound: It is gone.
            LimitReached: It has 1,000 events that no wait took yet.
            NotSerializable: The payload cannot be stored.
            TooLarge: It is over the limit for one value.
            InvalidName: The type or `dedup_id` is malformed.
        """
        driver = self._tenant._ready("instance.send_event")
        kind = names.event_type(type)
        limit = self._tenant.limits(self._workflow).value_bytes
        stored = None if payload is None else codec.encode(payload, limit=limit, where="payload")
        dedup = None if dedup_id is None else names.step_name(dedup_id, "dedup_id")
        reply = await driver.ask(driver.core.send_event, self._tenant._namespace, self.workflow, self.id, kind, stored, dedup)
        self._tenant._check(reply, self.workflow, self.id)

    async def resume(self) -> None:
        """Lets a blocked instance go on: its body is replayed from its history.

        Raises:
            InvalidState: The instance is final.
            InstanceNotFound: It is gone.
        """
        driver = self._tenant._ready("instance.resume")
        reply = await driver.ask(driver.core.resume, self._tenant._namespace, self.workflow, self.id)
        self._tenant._check(reply, self.workflow, self.id)

    async def history(self) -> list[StepRecord]:
        """Returns what is recorded, oldest first; then attempts that run, with status "running"; then what it waits for, "waiting".

        Raises:
            InstanceNotFound: It is gone.
        """
        runner = self._tenant._ready("instance.history").runners.get(self._no)
        running = [] if runner is None else _standing.of(runner)  # before the look: what ends meanwhile is recorded in that
        look, records = await self._records()
        recorded = {(record[1:7]) for record in records}
        open_attempts = [it for it in running if it.state in (_standing.RUNNING, _standing.ENDED) and _attempt_of(it) not in recorded]
        return [*map(_record, _past.in_place(records)), *map(_running, open_attempts), *map(_waiting, look.open_waits)]

    async def _records(self) -> tuple[Look, list[Any]]:
        driver: Driver = self._tenant._ready("instance.history")
        reply = await driver.ask(driver.core.history, self._no)
        self._tenant._check(reply, self.workflow, self.id)
        if reply.data is None:
            raise not_found(self.workflow, self.id, self._tenant._namespace)
        row, records = reply.data
        return Look._make(row), records

    async def explain(self) -> Explanation:
        """Says in one paragraph why the instance is where it is.

        Raises:
            InstanceNotFound: It is gone.
        """
        found = await self._explain()
        runner = self._tenant._running().runners.get(self._no)
        told = (_diagnosis.resisting, _diagnosis.standing_still, self._tenant._running().watchdog.told)
        more = "" if runner is None else next(filter(None, (tell(runner) for tell in told)), "")
        return found._replace(text=f"{found.text} {more}") if more else found

    async def _explain(self) -> Explanation:
        while True:  # what was looked at is perhaps not so any more: what is true now?
            body = self._tenant._ready("instance.explain").runners.get(self._no)
            look = await self._tenant._look(self.workflow, self.id, payloads=True, method="instance.explain")
            records: list[Any] = []
            if any(wait.kind == DO for wait in look.open_waits):
                look, records = await self._records()  # for what a retry comes after
                if look.status not in (Status.RUNNING, Status.WAITING):
                    continue
            if body is not None and look.status is Status.RUNNING and self._no not in self._tenant._running().runners:
                continue  # it has left memory meanwhile
            told = await self._explained(look, records)
            if told is not None:
                return told if look.status.is_final else _explanation.in_its_engine(told, self._tenant._running())

    async def _explained(self, look: Look, records: list[Any]) -> Explanation | None:
        driver = self._tenant._running()
        runner = driver.runners.get(self._no)
        if look.status is Status.RUNNING:
            return _explanation.of_running(look, records, runner, driver)
        if look.status is Status.WAITING:
            return _explanation.of_waiting(look, records, runner)
        if look.status is not Status.QUEUED:
            return _explanation.of_resting(look, driver.code)
        held_up = _explanation.of_queued(look, driver.now())
        if held_up is not None:
            return held_up
        reply = await driver.ask(driver.core.stand, look.namespace, look.workflow, look.id, look.priority)
        self._tenant._check(reply, self.workflow, self.id)
        return _explanation.of_place(look, *reply.data)


def _record(record: Any) -> StepRecord:
    _, kind, branch, name, key, count, attempt, verdict, started, at, _, _, payload = record
    output, error = None, None
    if payload is not None:
        try:
            value = codec.decode(payload)
            if VERDICTS[verdict] == "abandoned" and isinstance(value, dict):
                output = codec.decode(value["value"]) if value.get("value") is not None else None
                error = error_info(value["error"]) if "error" in value else None
            elif VERDICTS[verdict] in ("failed", "attempt_failed", "interrupted") and isinstance(value, dict):
                error = error_info(value)
            elif verdict == ERASED:
                (output, error), started, at = _past.told(value, name), value["began"], value["ended"]
            else:
                output = value
        except (Undecodable, StepwellError):
            output = payload
    ref = StepRef(name, count, key, KINDS[kind], branch)
    began = from_us(started) if started else None
    not_before = None
    if verdict == INTERRUPTED:  # nobody knows when it began: not before the turn that it belongs to
        began, not_before = None, began
    return StepRecord(KINDS[kind], name, key, count, branch, attempt, VERDICTS[verdict], began, from_us(at), output, error, ref, not_before)


def _attempt_of(step: Standing) -> tuple[Any, ...]:
    """Returns what a record of an attempt begins with, behind its place."""
    kind, _, name, key, count = step.identity
    return (kind, step.branch, name, key, count, step.attempt)


def _running(step: Standing) -> StepRecord:
    kind, _, name, key, count = step.identity
    ref = StepRef(name, count, key, KINDS[kind], step.branch)
    began = from_us(step.since)
    return StepRecord(KINDS[kind], name, key, count, step.branch, step.attempt, "running", began, None, None, None, ref)


def _waiting(wait: Wait) -> StepRecord:
    kind = KINDS[wait.kind]
    ref = StepRef(wait.name, wait.occurrence, wait.key, kind, wait.branch)
    return StepRecord(kind, wait.name, wait.key, wait.occurrence, wait.branch, 0, "waiting", from_us(wait.opened_at), None, None, None, ref)
