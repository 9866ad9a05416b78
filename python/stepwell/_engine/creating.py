"""Creates instances, one or many, and waits for what they return.

It checks and encodes what callers give, and asks the desk; whether there is room, and whether an id
is taken, the core says.
"""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Generic, NamedTuple, TypeVar, Unpack, overload

from .._codes import error_of
from .._core import SAME_ID_OTHER_PARAMS
from .._errors import InstanceExists, InstanceNotFound, StepwellError
from .._steps.params import encode_params
from .._steps.retention import Retention, own_keep
from .._steps.signatures import BatchOptions, CreateOptions, Given, IfExists, OnOverload
from .._steps.workflow import Workflow
from .._types import BatchError, NewInstance
from .._values import names
from .._values.codec import codec
from .._values.durations import instant_us
from .._values.payloads import reference
from .._values.same import same
from .config import check_if_exists, check_on_overload
from .desk import Code, Desk, Made, NewItem, Who
from .instance import Instance
from .look import Look

_IF_SAME = "return_if_same"
P = TypeVar("P")
R = TypeVar("R")


class BatchResult(NamedTuple, Generic[R]):
    """What `create_batch` did: instances in the order of the items that were created, and the
    errors of the others."""

    created: list[Instance[R]]
    errors: list[BatchError]


class Creates:
    """The methods of an engine and its namespaces that create instances."""

    _namespace: str
    _desk: Desk

    @overload
    async def create(
        self, workflow: Workflow[None, R], params: None = None, **options: Unpack[CreateOptions]
    ) -> Instance[R]: ...
    @overload
    async def create(
        self, workflow: Workflow[P, R], params: Given[P], **options: Unpack[CreateOptions]
    ) -> Instance[R]: ...
    @overload
    async def create(
        self, workflow: str, params: Any = None, **options: Unpack[CreateOptions]
    ) -> Instance[Any]: ...
    async def create(
        self,
        workflow: Workflow[Any, Any] | str,
        params: Any = None,
        *,
        id: str | None = None,
        priority: int = 0,
        start_at: datetime | None = None,
        retention: Retention | None = None,
        attributes: Mapping[str, Any] | None = None,
        if_exists: IfExists = "raise",
        on_overload: OnOverload = "raise",
    ) -> Instance[Any]:
        """Creates an instance; it is durable when this returns, and runs as soon as it has a slot.

        Args:
            workflow: A registered workflow, or its name (its last version).
            params: What it starts with; stored. Left out (or None) it is the default of the
                workflow's function, if that has one.
            id: 1 to 100 characters; default: a UUIDv7. Unique per workflow as long as the instance
                is kept.
            priority: -100 to 100; higher goes first.
            start_at: Not before this aware datetime.
            retention: How long it is kept after its end, whatever its workflow says; None: as that
                or the engine says. `Retention(success=None, error=None)` keeps it until it is
                deleted.
            attributes: At most 32 small values to list by.
            if_exists: "raise", "return" the one there is, or "return_if_same": that one if its
                params are the same, read as the type they have today, in whatever bytes they are
                stored. An id that is taken is told so whatever the limits are. One that was there
                keeps its version, and its output is read with the code of that.
            on_overload: "raise" refuses at once what does not fit; "wait" waits until it is let in,
                before everybody who does not wait. One that is cancelled before it is let in is
                never created, and cancelled only once that is certain.

        Raises:
            InstanceExists: The id is taken.
            InvalidName: The id is malformed.
            InvalidConfig: The workflow is not registered, or an argument is out of range.
            NotSerializable: The params cannot be stored.
            TooLarge: They are over the limit for one value.
            InvalidState: The namespace is being deleted (`delete_all`).
            Overloaded: A rate or queue limit, or the disk is full; nothing was created.
                `retry_after` is a moment of the caller's own if it gave an id, otherwise others may
                be faster; `on_overload="wait"` is the sure way.
            EngineClosed: The engine is not open, or drained while this call waited; nothing was
                created.
        """
        desk = self._desk
        desk.check_admits("engine.create")
        code = await desk.registry()
        target = code.registered(workflow)
        check_if_exists(if_exists)
        check_on_overload(on_overload)
        item = NewInstance(params, id, priority, start_at, retention, attributes)
        prepared = self._prepared(target, item, desk.most_bytes(self._namespace, target.name))
        of = Code(self._namespace, target.name, target.version)
        if on_overload == "wait":
            [made] = await desk.create_batch(of, [prepared], if_exists, waits=True)
            made = await self._judged(of, target, prepared, made)
            refused, no, known_id, created, status = made
            if refused:
                raise error_of(
                    refused,
                    (no, status),
                    workflow=target.name,
                    id=known_id,
                    namespace=self._namespace,
                )
        else:
            no, known_id, created = await self._created(of, target, prepared, if_exists)
        return Instance(
            desk,
            self._namespace,
            target.name,
            known_id,
            no,
            target if created else code.unseen(target),
        )

    async def _created(
        self, of: Code, target: Workflow[Any, Any], item: NewItem, if_exists: str
    ) -> tuple[int, str, bool]:
        """Creates one; or returns the one that is there, if that may count as it."""
        while True:
            try:
                return await self._desk.create(of, item, if_exists)
            except InstanceExists:
                if if_exists != _IF_SAME:
                    raise
                try:
                    look = await self._same(target, item)
                except InstanceNotFound:
                    continue  # it was deleted meanwhile, so the id is free
                if look is None:
                    raise
                return look.no, look.id, False

    async def _judged(
        self, of: Code, target: Workflow[Any, Any], item: NewItem, made: Made
    ) -> Made:
        """Returns what becomes of an item of a batch: one that was refused may count as the one
        that is there."""
        while made[0] == SAME_ID_OTHER_PARAMS:
            try:
                look = await self._same(target, item)
            except InstanceNotFound:  # deleted meanwhile: the id is free, and it was let in before
                [made] = await self._desk.create_batch(of, [item], _IF_SAME, waits=True)
                continue
            return made if look is None else ("", look.no, look.id, False, made[4])
        return made

    async def _same(self, target: Workflow[Any, Any], item: NewItem) -> Look | None:
        """Returns the instance that is there, if its params are the same, though in other bytes
        than those that were given; the core has compared the bytes."""
        id, params, *_ = item
        assert id is not None, "one without an id is always new"
        who = Who(self._namespace, target.name, id)
        look = await self._desk.find(who)
        if reference(look.params) is not None:  # a look leaves them where they are
            whole = await self._desk.export(who, look.no)
            look = look._replace(params=b64decode(whole["params"]))
        return look if same(target.params, look.params, params) else None

    def _prepared(
        self, target: Workflow[Any, Any], item: NewInstance[Any], value_bytes: int
    ) -> NewItem:
        return (
            None if item.id is None else names.instance_id(item.id),
            encode_params(target, item.params, value_bytes),
            names.priority(item.priority),
            None if item.start_at is None else instant_us(item.start_at, "start_at"),
            codec.encode(names.attributes(item.attributes)) if item.attributes else None,
            own_keep(item.retention),
        )

    @overload
    async def create_batch(
        self,
        workflow: Workflow[P, R],
        items: Sequence[Given[P] | NewInstance[P]],
        **options: Unpack[BatchOptions],
    ) -> BatchResult[R]: ...
    @overload
    async def create_batch(
        self, workflow: str, items: Sequence[Any], **options: Unpack[BatchOptions]
    ) -> BatchResult[Any]: ...
    async def create_batch(
        self,
        workflow: Workflow[Any, Any] | str,
        items: Sequence[Any],
        *,
        if_exists: IfExists = "raise",
        on_overload: OnOverload = "raise",
    ) -> BatchResult[Any]:
        """Creates up to 10,000 instances in one durable commit. A bad item fails alone.

        Args:
            workflow: A registered workflow, or its name.
            items: 1 to 10,000 params or `NewInstance`s.
            if_exists: As `create`.
            on_overload: "raise" refuses a batch that does not fit as a whole; "wait" waits until
                all of it is let in, before everybody who does not wait. One that is cancelled
                before that is never created.

        Returns:
            The instances in the order of their items, and the errors with the index of theirs.

        Raises:
            InvalidConfig: Too few or too many items, or the workflow is not registered.
            InvalidState: The namespace is being deleted (`delete_all`).
            Overloaded: It does not fit, or the disk is full; none of it was created. With "wait":
                it never will fit.
            EngineClosed: The engine is not open, or drained while this call waited; none of it was
                created.
        """
        desk = self._desk
        desk.check_admits("engine.create_batch")
        code = await desk.registry()
        target = code.registered(workflow)
        names.check_batch(items)
        check_if_exists(if_exists)
        check_on_overload(on_overload)
        value_bytes = desk.most_bytes(self._namespace, target.name)
        prepared, indexes, errors = [], [], []
        for index, item in enumerate(items):
            item = item if isinstance(item, NewInstance) else NewInstance(item)
            try:
                prepared.append(self._prepared(target, item, value_bytes))
                indexes.append(index)
            except StepwellError as error:
                errors.append(
                    BatchError(index, item.id if isinstance(item.id, str) else None, error)
                )
        created: list[Instance[Any]] = []
        if prepared:
            of = Code(self._namespace, target.name, target.version)
            answers = await desk.create_batch(of, prepared, if_exists, waits=on_overload == "wait")
            for given, index, made in zip(prepared, indexes, answers, strict=True):
                made = await self._judged(of, target, given, made)
                refused, no, id, is_new, status = made
                if refused:
                    errors.append(
                        BatchError(
                            index,
                            id,
                            error_of(
                                refused,
                                (no, status),
                                workflow=target.name,
                                id=id,
                                namespace=self._namespace,
                            ),
                        )
                    )
                else:
                    created.append(
                        Instance(
                            desk,
                            self._namespace,
                            target.name,
                            id,
                            no,
                            target if is_new else code.unseen(target),
                        )
                    )
        return BatchResult(created, sorted(errors, key=lambda e: e.index))

    @overload
    async def call(
        self, workflow: Workflow[None, R], params: None = None, **options: Unpack[CreateOptions]
    ) -> R: ...
    @overload
    async def call(
        self, workflow: Workflow[P, R], params: Given[P], **options: Unpack[CreateOptions]
    ) -> R: ...
    @overload
    async def call(
        self, workflow: str, params: Any = None, **options: Unpack[CreateOptions]
    ) -> Any: ...
    async def call(
        self,
        workflow: Workflow[Any, Any] | str,
        params: Any = None,
        *,
        id: str | None = None,
        priority: int = 0,
        start_at: datetime | None = None,
        retention: Retention | None = None,
        attributes: Mapping[str, Any] | None = None,
        if_exists: IfExists = "return",
        on_overload: OnOverload = "raise",
    ) -> Any:
        """Creates an instance, or attaches to the one with this id, and returns its output.

        Args:
            workflow: A registered workflow, or its name.
            params: What it starts with, if it is new.
            id: Default: a new one.
            priority: As `create`.
            start_at: As `create`.
            retention: As `create`.
            attributes: As `create`.
            if_exists: As `create`, but "return" unless given.
            on_overload: As `create`.

        Raises:
            InstanceErrored: It errored.
            InstanceTerminated: It was terminated.
            InvalidPayload: It is complete, and its output cannot become the type that its workflow
                returns today.
            StepwellError: As `create`.
        """
        self._desk.check_admits("engine.call")
        # whatever is wrong with what was given, it is for `create` to say
        create: Any = self.create
        instance: Instance[Any] = await create(
            workflow, params, id=id, priority=priority, start_at=start_at, retention=retention,
            attributes=attributes, if_exists=if_exists,
            on_overload=on_overload,
        )  # fmt: skip
        return await instance.result()
