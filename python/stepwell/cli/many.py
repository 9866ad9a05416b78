"""What is done to one instance, or to many: which are meant, a look before, and how far it is.

One address is one instance. Filters, a workflow with filters, or several addresses are a bulk
operation of the engine: durable, listed by `stepwell bulk`, and asked about first, unless `--yes`
says that this is not needed.
"""

from __future__ import annotations

import functools
import sys
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any

import click
import trio

from .addresses import LATEST, found, is_instance, split
from .exits import DONE, NOT_FOUND, PARTLY, USAGE, Failure
from .options import FILTERS
from .output import Output, cell, say, several

if TYPE_CHECKING:
    from stepwell import BulkPreview, BulkResult, Client

Bulk = Callable[..., Awaitable[Any]]
ASKED_WITH_NUMBER = 100
"""Above so many the number is to be typed."""
_LOOK_SECONDS = 0.5
_GROUP = ("step", "error_type")

TARGETS = click.Argument(["targets"], nargs=-1, metavar="[WORKFLOW | WORKFLOW/ID...]")
YES = click.Option(["--yes"], is_flag=True, help="Do not ask; needed where there is no terminal.")
OF_REASON = [
    click.Option(["--step"], metavar="STEP", help="With --reason: only those that it is about."),
    click.Option(
        ["--error-type"], metavar="CLASS", help="With --reason: only those with this error."
    ),
]
OPTIONS = [*OF_REASON, YES]


def chooses(targets: Sequence[str], given: dict[str, Any], more: Sequence[str] = ()) -> bool:
    """Whether many are meant, and not the one instance that was named."""
    one = len(targets) == 1 and is_instance(targets[0])
    filtered = [key for key in (*FILTERS, *_GROUP, *more) if given.get(key)]
    if one and filtered:
        raise Failure(
            USAGE,
            f"{targets[0]} is one instance, and {_flags(filtered)} would choose many; give one "
            "or the other.",
        )
    return not one


def _flags(names: Sequence[str]) -> str:
    return ", ".join(
        "--attribute" if it == "attributes" else f"--{it.replace('_', '-')}" for it in names
    )


async def meant(
    client: Client, targets: Sequence[str], given: dict[str, Any]
) -> list[dict[str, Any]]:
    """Returns the workflow, with the filters or ids, that many are chosen by: for each bulk
    operation, of which one is about one workflow or about all.

    Raises:
        Failure: They are chosen in two ways, or nobody is where they are for such a reason.
    """
    filters = {key: given[key] for key in (*FILTERS, "ids") if given.get(key)}
    if any(map(is_instance, targets)):
        if filters:
            raise Failure(USAGE, f"instances are named; {_flags(list(filters))} chooses others.")
        return [
            {"workflow": workflow, "ids": ids}
            for workflow, ids in (await _named(client, targets)).items()
        ]
    return [await _filtered(client, it, given, filters) for it in targets or (None,)]


async def _filtered(
    client: Client, workflow: str | None, given: dict[str, Any], filters: dict[str, Any]
) -> dict[str, Any]:
    if any(given.get(key) for key in _GROUP):
        filters = {**filters, "reason": await _group(client, workflow, given)}
    if not filters:
        raise Failure(
            USAGE,
            "that would be about everything"
            + (f" of {workflow}" if workflow else "")
            + "; name instances, give a filter such as --reason or --attribute, or say "
            "--status all if it is meant.",
        )
    return {"workflow": workflow, **filters}


async def _named(client: Client, targets: Sequence[str]) -> dict[str, list[str]]:
    """Returns the ids of the instances that are named, by workflow."""
    ids: dict[str, list[str]] = {}
    for text in targets:
        pair = split(text)
        if pair is None or pair[1] == LATEST:
            it = await found(client, text)
            pair = it.workflow, it.id
        ids.setdefault(pair[0], []).append(pair[1])
    return ids


async def _group(client: Client, workflow: str | None, given: dict[str, Any]) -> Any:
    """Returns the row of `reasons` that is described."""
    rows = [
        it
        for it in await client.reasons(workflow)
        if given.get("reason") in (None, it.code)
        and given.get("step") in (None, it.step)
        and given.get("error_type") in (None, it.error_type, (it.error_type or "").split(".")[-1])
        and given.get("version") in (None, it.version)
    ]
    if not rows:
        raise Failure(NOT_FOUND, "nobody is where they are for such a reason: stepwell reasons.")
    if len(rows) > 1:
        told = "; ".join(f"{it.workflow}@{it.version} {it.code} {it.step or ''}" for it in rows)
        raise Failure(USAGE, f"{len(rows)} reasons are so: {told}. Say more, such as --version.")
    return rows[0]


async def do_to_many(
    client: Client,
    out: Output,
    called: str,
    bulk: Bulk,
    each: Sequence[dict[str, Any]],
    *,
    yes: bool,
    dry_run: bool,
) -> int:
    """Does something to many, once whoever asks has seen to whom; returns the exit code.

    `called`: what it is, in a word; `each`: what each bulk operation is given.
    """
    if dry_run:
        for given in each:
            preview(out, await bulk(**given, dry_run=True))
        return DONE
    if not yes:
        if not (sys.stdin.isatty() and sys.stderr.isatty()):
            raise Failure(
                USAGE,
                f"{called} of many asks first, and there is no terminal to ask on. Look with "
                "--dry-run, then say --yes.",
            )
        seen: list[BulkPreview] = [await bulk(**given, dry_run=True) for given in each]
        if not any(it.counts for it in seen):
            out.say("nobody is meant; nothing was done.")
            return DONE
        if not await trio.to_thread.run_sync(functools.partial(_agreed, called, seen)):
            raise click.Abort
        each = [
            {**given, "frontier": it.frontier}
            for given, it in zip(each, seen, strict=True)
            if it.counts
        ]
    codes = [
        await _done(
            client,
            out,
            called if len(each) == 1 else f"{called} of {it['workflow']}",
            functools.partial(bulk, **it),
        )
        for it in each
    ]
    return max(codes)


async def _done(
    client: Client, out: Output, called: str, bulk: Callable[[], Awaitable[Any]]
) -> int:
    """Does one bulk operation, and says what came of it."""
    result: BulkResult = await _with_progress(client, called, bulk)
    ended = await client.bulk.get(result.id)
    refused = sum(ended.errors.values())
    if out.is_json:
        out.row(result)
    elif result.errors:
        out.rows(result.errors)
    stopped = "; it was stopped" if ended.status == "stopped" else ""
    out.say(f"{called}: {result.done:,} done, {refused:,} refused{stopped} (bulk {result.id})")
    return PARTLY if refused or stopped else DONE


def preview(out: Output, seen: BulkPreview) -> None:
    """Prints to whom something would be done."""
    if out.is_json:
        out.row(seen)
        return
    out.rows(seen.examples, "nobody is meant.")
    if seen.counts:
        out.say(f"{_counted(seen)}; --frontier {seen.frontier} keeps out whoever is created later")


def _counted(*seen: BulkPreview) -> str:
    counts: Counter[str] = Counter()
    for it in seen:
        counts.update({status.value: count for status, count in it.counts.items()})
    return f"{several(counts.total(), 'instance')} ({cell('counts', counts)})"


def _agreed(called: str, seen: Sequence[BulkPreview]) -> bool:
    """Asks on the terminal whether it is to be done."""
    total = sum(sum(it.counts.values()) for it in seen)
    examples = [example for it in seen for example in it.examples]
    for it in examples:
        say(f"  {it.workflow}/{it.id}  {it.status.replace('_', ' ')}")
    if total > len(examples):
        say(f"  and {total - len(examples):,} more")
    if total <= ASKED_WITH_NUMBER:
        return click.confirm(f"{called}: {_counted(*seen)}?", err=True)
    typed = click.prompt(
        f"{called}: {_counted(*seen)}. Type {total} to go on", err=True, default="",
        show_default=False,
    )  # fmt: skip
    return str(typed).replace(",", "").strip() == str(total)


async def _with_progress(client: Client, called: str, bulk: Callable[[], Awaitable[Any]]) -> Any:
    """Returns what comes of it; says on a terminal meanwhile how far it is."""
    before = await client.bulk.list(limit=1)
    last = int(before.items[0].id) if before.items else 0
    result: list[Any] = []
    failure: list[Exception] = []

    async def does() -> None:
        try:
            result.append(await bulk())
        except Exception as error:
            failure.append(error)
        nursery.cancel_scope.cancel()

    async def tells() -> None:
        while sys.stderr.isatty():
            await trio.sleep(_LOOK_SECONDS)
            mine = [it for it in (await client.bulk.list(limit=10)).items if int(it.id) > last]
            if mine:
                say(f"{called}: {mine[-1].done:,} done (bulk {mine[-1].id})")

    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(tells)
            nursery.start_soon(does)
    except* KeyboardInterrupt:
        say("the engine goes on with it: see `stepwell bulk list`, or `stepwell bulk stop ID`.")
        raise
    if failure:
        raise failure[0]
    return result[0]
