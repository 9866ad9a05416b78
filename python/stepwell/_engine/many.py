"""What can be done to many instances at once: who they are, a look at that first, and then part by
part, durable, whatever happens to the engine."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Any, Literal, NamedTuple, Unpack, overload

from .._core import ENDED_IN_ERROR
from .._errors import InstanceNotFound, InvalidConfig
from .._steps.signatures import BulkOptions
from .._steps.workflow import Workflow, name_sought
from .._types import FINAL, STATUSES, BulkError, BulkPreview, BulkResult, Status
from .._values import names
from .._values.codec import codec
from .._values.durations import instant_us
from . import counted
from .acting import by, terminated_text
from .answers import state_codes, summary
from .counted import Counted
from .desk import By, Desk, Order, Query, Who
from .look import Look

RATE_MAX = 100_000
EXAMPLES = 5
_PAGE = 1_000
_OPEN = [code for code, status in enumerate(STATUSES) if status not in FINAL]
_ERRORED = [STATUSES.index(Status.ERRORED)]
_OF_FINAL = ("restart", "delete")
"""What is done to final ones too."""
_FILTERS = (
    "status", "version", "reason", "attributes", "parent", "id_prefix", "schedule",
    "created_after", "created_before",
)  # fmt: skip


class _Chosen(NamedTuple):
    """Who it is about, and how it is to be done."""

    workflow: str | None
    ids: list[str] | None
    query: Query
    text: str
    frontier: int | None
    rate: float | None
    by: By


class Many:
    """The methods of an engine and its namespaces that do something to many instances."""

    _namespace: str
    _desk: Desk

    @overload
    async def pause(
        self,
        workflow: Workflow[Any, Any] | str | None = None,
        *,
        dry_run: Literal[False] = False,
        **options: Unpack[BulkOptions],
    ) -> BulkResult: ...
    @overload
    async def pause(
        self,
        workflow: Workflow[Any, Any] | str | None = None,
        *,
        dry_run: Literal[True],
        **options: Unpack[BulkOptions],
    ) -> BulkPreview: ...
    async def pause(
        self,
        workflow: Workflow[Any, Any] | str | None = None,
        *,
        dry_run: bool = False,
        **options: Unpack[BulkOptions],
    ) -> BulkResult | BulkPreview:
        """Pauses many instances, as `Instance.pause` does one; returns when that has ended.

        It is durable: an engine that is killed meanwhile goes on where it was when it opens again,
        and so does one that is closed; whoever waits gets `EngineClosed` then. It is about those
        that are there when it begins. `engine.bulk` has how far it is, and stops it.

        Args:
            workflow: Only instances of this workflow; alone it chooses nobody.
            dry_run: Only look who they are: how many in each state, five of them, and the highest
                instance number there is; pass that on as `frontier`.
            options: Who they are: `ids`, up to 10,000 of one workflow; or `status` ("all" for any
                that can be meant), `version`, `reason`, `attributes`, `parent`,
                `id_prefix`, `schedule`, `created_after` and `created_before`, as `list` takes
                them. Those that are final are only among them if `status` says so. `frontier`:
                nobody that was created after the look that gave it. `rate`: at most so many in a
                second, up to 100,000. `actor` and `note`: for the audit, which has one row for all.

        Raises:
            InvalidConfig: There are neither ids nor a filter, or something is out of range.
            InvalidName: `actor` is none.
            EngineClosed: The engine is not open, or was closed meanwhile.
        """
        return await self._to_many("pause", workflow, dry_run, options)

    @overload
    async def resume(
        self,
        workflow: Workflow[Any, Any] | str | None = None,
        *,
        to_version: str | None = None,
        dry_run: Literal[False] = False,
        **options: Unpack[BulkOptions],
    ) -> BulkResult: ...
    @overload
    async def resume(
        self,
        workflow: Workflow[Any, Any] | str | None = None,
        *,
        to_version: str | None = None,
        dry_run: Literal[True],
        **options: Unpack[BulkOptions],
    ) -> BulkPreview: ...
    async def resume(
        self,
        workflow: Workflow[Any, Any] | str | None = None,
        *,
        to_version: str | None = None,
        dry_run: bool = False,
        **options: Unpack[BulkOptions],
    ) -> BulkResult | BulkPreview:
        """Resumes many instances; as `pause`. Those that are blocked because their body raised the
        failures of steps make new attempts of these, as with `Instance.resume`.

        Args:
            workflow: Only instances of this one.
            to_version: The version as which they go on, as with `Instance.resume`; one whose
                workflow has no such version is refused, and the result names it.
            dry_run: Do nothing, and return whom it would be done to.
            options: As `pause`.

        Returns:
            As `pause`.

        Raises:
            InvalidName: `to_version` is no name of a version.
            StepwellError: As `pause`.
        """
        if to_version is not None:
            names.step_name(to_version, "to_version")
        return await self._to_many("resume", workflow, dry_run, options, text=to_version)

    @overload
    async def terminate(
        self,
        workflow: Workflow[Any, Any] | str | None = None,
        *,
        undo: bool = False,
        dry_run: Literal[False] = False,
        **options: Unpack[BulkOptions],
    ) -> BulkResult: ...
    @overload
    async def terminate(
        self,
        workflow: Workflow[Any, Any] | str | None = None,
        *,
        undo: bool = False,
        dry_run: Literal[True],
        **options: Unpack[BulkOptions],
    ) -> BulkPreview: ...
    async def terminate(
        self,
        workflow: Workflow[Any, Any] | str | None = None,
        *,
        undo: bool = False,
        dry_run: bool = False,
        **options: Unpack[BulkOptions],
    ) -> BulkResult | BulkPreview:
        """Terminates many instances; as `pause`.

        Args:
            workflow: Only instances of this one.
            undo: Whether they undo their steps first, as with `Instance.terminate`.
            dry_run: As `pause`.
            options: As `pause`.
        """
        undoes = names.flag(undo, "undo")
        return await self._to_many("terminate", workflow, dry_run, options, undo=undoes)

    @overload
    async def retry_now(
        self,
        workflow: Workflow[Any, Any] | str | None = None,
        *,
        dry_run: Literal[False] = False,
        **options: Unpack[BulkOptions],
    ) -> BulkResult: ...
    @overload
    async def retry_now(
        self,
        workflow: Workflow[Any, Any] | str | None = None,
        *,
        dry_run: Literal[True],
        **options: Unpack[BulkOptions],
    ) -> BulkPreview: ...
    async def retry_now(
        self,
        workflow: Workflow[Any, Any] | str | None = None,
        *,
        dry_run: bool = False,
        **options: Unpack[BulkOptions],
    ) -> BulkResult | BulkPreview:
        """Makes the next attempts of many instances now; as `pause`. A `rate` keeps a provider that
        has just recovered from being knocked over."""
        return await self._to_many("retry_now", workflow, dry_run, options)

    @overload
    async def restart(
        self,
        workflow: Workflow[Any, Any] | str | None = None,
        *,
        from_step: Literal["failed"] | None = None,
        dry_run: Literal[False] = False,
        **options: Unpack[BulkOptions],
    ) -> BulkResult: ...
    @overload
    async def restart(
        self,
        workflow: Workflow[Any, Any] | str | None = None,
        *,
        from_step: Literal["failed"] | None = None,
        dry_run: Literal[True],
        **options: Unpack[BulkOptions],
    ) -> BulkPreview: ...
    async def restart(
        self,
        workflow: Workflow[Any, Any] | str | None = None,
        *,
        from_step: Literal["failed"] | None = None,
        dry_run: bool = False,
        **options: Unpack[BulkOptions],
    ) -> BulkResult | BulkPreview:
        """Restarts many instances, those that are final among them; as `pause`, and as
        `Instance.restart` does one.

        Args:
            workflow: As `pause`.
            from_step: "failed": from where each of them failed; None: from the start.
            dry_run: As `pause`.
            options: As `pause`.

        Raises:
            StepwellError: As `pause`.
        """
        if from_step not in (None, "failed"):
            raise InvalidConfig(
                f'from_step is {from_step!r:.120}; for many it is "failed", or left out.'
            )
        return await self._to_many("restart", workflow, dry_run, options, text=from_step)

    @overload
    async def delete(
        self,
        workflow: Workflow[Any, Any] | str | None = None,
        *,
        dry_run: Literal[False] = False,
        **options: Unpack[BulkOptions],
    ) -> BulkResult: ...
    @overload
    async def delete(
        self,
        workflow: Workflow[Any, Any] | str | None = None,
        *,
        dry_run: Literal[True],
        **options: Unpack[BulkOptions],
    ) -> BulkPreview: ...
    async def delete(
        self,
        workflow: Workflow[Any, Any] | str | None = None,
        *,
        dry_run: bool = False,
        **options: Unpack[BulkOptions],
    ) -> BulkResult | BulkPreview:
        """Deletes many instances, those that are final among them; as `pause`, and as
        `Instance.delete` does one."""
        return await self._to_many("delete", workflow, dry_run, options)

    @overload
    async def send_event_all(
        self,
        type: str,
        payload: Any = None,
        *,
        workflow: Workflow[Any, Any] | str | None = None,
        dry_run: Literal[False] = False,
        **options: Unpack[BulkOptions],
    ) -> BulkResult: ...
    @overload
    async def send_event_all(
        self,
        type: str,
        payload: Any = None,
        *,
        workflow: Workflow[Any, Any] | str | None = None,
        dry_run: Literal[True],
        **options: Unpack[BulkOptions],
    ) -> BulkPreview: ...
    async def send_event_all(
        self,
        type: str,
        payload: Any = None,
        *,
        workflow: Workflow[Any, Any] | str | None = None,
        dry_run: bool = False,
        **options: Unpack[BulkOptions],
    ) -> BulkResult | BulkPreview:
        """Sends an event to many instances, to each once; as `pause`.

        Args:
            type: The event's type.
            payload: Storable data, the same for all.
            workflow: As `pause`.
            dry_run: As `pause`.
            options: As `pause`.

        Raises:
            NotSerializable: The payload cannot be stored.
            TooLarge: It is over the limit for one value.
            StepwellError: As `pause`.
        """
        kind = names.event_type(type)
        limit = self._desk.value_bytes(self._namespace, name_sought(workflow))
        stored = None if payload is None else codec.encode(payload, limit=limit, where="payload")
        return await self._to_many(
            "send_event", workflow, dry_run, options, text=kind, payload=stored
        )

    async def _to_many(
        self,
        operation: str,
        workflow: Workflow[Any, Any] | str | None,
        dry_run: bool,
        options: BulkOptions,
        **more: Any,
    ) -> BulkResult | BulkPreview:
        called = f"engine.{operation}" + ("_all" if operation == "send_event" else "")
        return await ManyOf(self._desk, self._namespace).do(
            called, operation, workflow, dry_run, options, **more
        )


class ManyOf:
    """Does something to many instances of one namespace."""

    def __init__(self, desk: Desk, namespace: str) -> None:
        self._desk = desk
        self._namespace = namespace

    async def do(
        self,
        called: str,
        operation: str,
        workflow: Workflow[Any, Any] | str | None,
        dry_run: bool,
        options: BulkOptions,
        *,
        text: str | None = None,
        payload: bytes | None = None,
        name: str | None = None,
        undo: bool = False,
    ) -> BulkResult | BulkPreview:
        """Does it, or looks who it would be done to. `called`: what the API calls it; `text`:
        the type of what is sent, where a restart begins, or as which version it goes on; `payload`:
        what is sent or decided; `name`: of the approvals that it is about; `undo`:
        whether who is terminated undoes its steps first."""
        self._desk.check(called)
        it = await self._chosen(called, workflow, options, operation in _OF_FINAL)
        if dry_run:
            return await self._preview(it)
        query = it.query._asdict()
        query["reason"] = None if it.query.reason is None else tuple(it.query.reason)
        what = {
            "ids": it.ids, "query": None if it.ids is not None else query,
            "states": [] if it.ids is not None else it.query.states,
            "text": terminated_text(it.by) if operation == "terminate" else text,
            "payload": payload, "name": name, "rate": it.rate, "undo": undo,
        }  # fmt: skip
        shown = it.text if name is None else f"{it.text}, name={name}"
        if operation == "resume" and text is not None:
            shown += f", to_version={text}"
        order = Order(
            self._namespace, operation, it.workflow, shown, it.frontier, codec.encode(what)
        )
        ended = await self._desk.do_to_many(order, it.by)
        errors = [BulkError(*refused) for refused in ended.refused]
        return BulkResult(str(ended.number), ended.done, errors)

    async def _chosen(
        self,
        called: str,
        workflow: Workflow[Any, Any] | str | None,
        options: BulkOptions,
        finals: bool,
    ) -> _Chosen:
        given: Mapping[str, Any] = {key: it for key, it in options.items() if it is not None}
        known = {*_FILTERS, "ids", "rate", "frontier", "actor", "note"}
        if unknown := given.keys() - known:
            raise TypeError(f"{called}() got an unexpected argument {min(unknown)!r}")
        filters = {key: it for key, it in given.items() if key in _FILTERS}
        why = counted.sought(filters.get("reason"), name_sought(workflow), filters.get("version"))
        name = why.workflow
        await self._check_workflow(name)
        ids = _ids(given.get("ids"), filters, name, called)
        if ids is None and not filters:
            raise InvalidConfig(
                f"{called} was given neither ids nor a filter, and would be about everything; say "
                'status="all" if that is meant.'
            )
        shown = [
            f"reason={why.reason}" if key == "reason" else f"{key}={it!r}"
            for key, it in filters.items()
        ]
        text = (
            ", ".join(shown)
            if ids is None
            else f"{len(ids):,} id{'s' * (len(ids) != 1)}: {', '.join(ids[:5])}"
        )
        frontier = given.get("frontier")
        if frontier is not None:
            frontier = names.whole(frontier, 0, 2**63 - 1, "frontier", ". Pass that of a preview")
        who = by(given.get("actor"), given.get("note"))
        query = self._query(why, filters, [] if finals else _OPEN)
        return _Chosen(name, ids, query, f"{text:.1000}", frontier, _rate(given.get("rate")), who)

    async def _check_workflow(self, name: str | None) -> None:
        desk, code = self._desk, await self._desk.registry()
        if name is not None and name not in code and not await desk.counts(None, name):
            raise InvalidConfig(
                f'no workflow "{name}" is registered with this engine, and its store has no '
                f"instance of one; check the name (registered: {code})."
            )

    def _query(self, why: Counted, filters: Mapping[str, Any], any_of: list[int]) -> Query:
        state = _ERRORED if why.reason is not None and why.reason.code == ENDED_IN_ERROR else any_of
        status = filters.get("status")
        after, before = filters.get("created_after"), filters.get("created_before")
        attributes = filters.get("attributes")
        if attributes is not None and not isinstance(attributes, dict):
            raise InvalidConfig(
                f"attributes={attributes!r:.120} is not a dict of those that instances must have"
            )
        pairs = names.attributes(attributes).items() if attributes else ()
        return Query(
            namespace=self._namespace,
            workflow=why.workflow,
            states=state if status in (None, "all") else state_codes(status),
            version=why.version,
            reason=why.reason,
            parent=_parent(filters.get("parent")),
            id_prefix=names.sought(filters.get("id_prefix"), "id_prefix") or None,
            created_after=None if after is None else instant_us(after, "created_after"),
            created_before=None if before is None else instant_us(before, "created_before"),
            beyond=None,
            newest_first=False,
            limit=_PAGE,
            attributes=[(key, codec.encode(value)) for key, value in pairs],
            schedule=names.sought(filters.get("schedule"), "schedule") or None,
        )

    async def _preview(self, it: _Chosen) -> BulkPreview:
        newest = self._query(Counted(None, None, None), {}, [])._replace(newest_first=True, limit=1)
        last = [look.no for look in (await self._desk.page(newest)).rows]
        frontier = min(it.frontier if it.frontier is not None else 2**63, *last, 2**63)
        frontier = frontier if last else 0
        counts: Counter[Any] = Counter()
        examples: list[Look] = []
        async for look in self._all(it, frontier):
            counts[look.status] += 1
            if len(examples) < EXAMPLES:
                examples.append(look)
        return BulkPreview(dict(counts), [summary(look) for look in examples], frontier)

    async def _all(self, it: _Chosen, frontier: int) -> AsyncGenerator[Look]:
        if it.ids is not None:
            for id in it.ids:
                try:
                    yield await self._desk.find(Who(self._namespace, it.workflow or "", id))
                except InstanceNotFound:
                    continue
            return
        query = it.query
        while True:
            found = await self._desk.page(query)
            for look in found.rows:
                if look.no > frontier:
                    return
                yield look
            if found.searched_to is not None:
                query = query._replace(beyond=found.searched_to[0])
            elif len(found.rows) == query.limit:
                query = query._replace(beyond=found.rows[-1].no)
            else:
                return


def _parent(parent: Any) -> tuple[str | None, str] | None:
    if parent is None:
        return None
    if isinstance(parent, str):
        return None, names.sought(parent, "parent") or ""
    if not isinstance(parent, tuple) or len(parent) != 2:
        raise InvalidConfig(
            f"parent={parent!r:.120} is no instance; give its id, or (workflow, id)."
        )
    return name_sought(parent[0]), names.sought(parent[1], "parent") or ""


def _ids(
    ids: Any, filters: Mapping[str, Any], workflow: str | None, called: str
) -> list[str] | None:
    if ids is None:
        return None
    if filters:
        raise InvalidConfig(
            f"{called} was given ids and {', '.join(filters)}; ids are chosen already, give one or "
            "the other."
        )
    if workflow is None:
        raise InvalidConfig(f"{called} was given ids of no workflow; say of which.")
    if isinstance(ids, str | bytes) or not isinstance(ids, Sequence):
        raise InvalidConfig(f"ids={ids!r:.120} is not a sequence; pass a list of ids.")
    names.batch_size(len(ids))
    return list(dict.fromkeys(names.instance_id(id) for id in ids))


def _rate(rate: Any) -> float | None:
    if rate is None:
        return None
    if (
        isinstance(rate, bool)
        or not isinstance(rate, int | float)
        or not (0 < rate <= RATE_MAX and math.isfinite(rate))
    ):
        raise InvalidConfig(
            f"rate is {rate!r:.120}; give how many in a second, up to {RATE_MAX:,}, or "
            "leave it out."
        )
    return float(rate)
