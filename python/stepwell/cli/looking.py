"""Commands that look at instances: which there are, where they stand, and why."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import click

from .addresses import found, place
from .asking import asks
from .exits import NOT_FOUND, Failure
from .options import given_to
from .output import Output
from .values import Row

if TYPE_CHECKING:
    from stepwell import Client, Page

PAGE = 1_000
INSTANCE = click.Argument(["instance"], metavar="WORKFLOW/ID")
WORKFLOW = click.Argument(["workflow"], required=False, metavar="[WORKFLOW]")


async def paged(
    out: Output,
    given: dict[str, Any],
    page_of: Callable[..., Awaitable[Page[Any]]],
    nothing: str,
    default: int = 50,
) -> None:
    """Prints pages until there are as many rows as were asked for, and says if there are more."""
    limit = given.pop("limit", default)
    cursor, rows, told = given.pop("cursor", None), [], 0
    while True:
        size = PAGE if limit == 0 else min(PAGE, limit - told)
        page = await page_of(**given, limit=size, cursor=cursor)
        told, cursor = told + len(page.items), page.cursor
        if out.is_json or out.ids:
            out.rows(page.items)
        else:
            rows += page.items
        if cursor is None or (limit and told >= limit):
            break
    if not (out.is_json or out.ids):
        out.rows(rows, nothing)
    if cursor is not None:
        out.say(f"these are {told:,}; there may be more: --limit 0, or --cursor {cursor}")


@asks("engine.list", name="list", arguments=[WORKFLOW], without=["workflow"])
async def list_(client: Client, out: Output, workflow: str | None, **given: Any) -> None:
    """List instances, newest first."""
    chosen = {"workflow": workflow, **given_to("engine.list", given)}
    await paged(out, chosen, client.list, "no instance is there that is so.")


@asks("instance.status", name="show", arguments=[INSTANCE])
async def show(client: Client, out: Output, instance: str, **given: Any) -> None:
    """Show where one instance stands: its state, output, error and progress."""
    it = await found(client, instance)
    status = await it.status()
    out.one(Row("instance", workflow=it.workflow, id=it.id, **status._asdict()))


@asks(
    "instance.history",
    name="history",
    arguments=[INSTANCE],
    more=[
        click.Option(["--step"], metavar="NAME", help="Only this step, and its attempts."),
        click.Option(["--failed"], is_flag=True, help="Only what failed."),
    ],
)
async def history(
    client: Client, out: Output, instance: str, step: str | None, failed: bool, **given: Any
) -> None:
    """Show what is recorded of one instance, oldest first: each step, and each attempt of it with
    its idempotency key, which is shown on a terminal with --step."""
    it = await found(client, instance)
    records = await it.history()
    if step is not None:
        chosen = [record for record in records if step in (record.name, place(record))]
        if not chosen:
            known = ", ".join(dict.fromkeys(record.name for record in records)) or "nothing"
            raise Failure(
                NOT_FOUND, f"{it.workflow}/{it.id} has no step {step!r}; recorded is {known}."
            )
        records = chosen
    if failed:
        records = [record for record in records if record.error is not None]
    if step is not None and not (out.is_json or out.fields or out.ids):
        for key, what in {it.idempotency_key: place(it) for it in records}.items():
            if key is not None:
                out.plain_text(f"the idempotency key of {what} is {key}")
    out.rows(records, "nothing of it failed." if failed else "nothing is recorded of it.")


@asks("instance.explain", name="explain", arguments=[INSTANCE])
async def explain(client: Client, out: Output, instance: str, **given: Any) -> None:
    """Say why one instance is where it is, in a paragraph, and what to do about it."""
    explanation = await (await found(client, instance)).explain()
    out.text(explanation, str(explanation))


@asks("engine.reasons", name="reasons", arguments=[WORKFLOW], without=["workflow"])
async def reasons(client: Client, out: Output, workflow: str | None, **given: Any) -> None:
    """Count instances by why they are where they are, the most frequent reason first. The code,
    step and error of a row choose its instances in `list`, `retry`, `resume` and their like."""
    out.rows(await client.reasons(workflow), "nothing waits, and nothing is stuck.")
