"""`stepwell schedules`: what is begun again and again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from .addresses import Moment, Value, When
from .asking import Command, asks
from .creating import plain_value
from .exits import NOT_FOUND, Failure
from .groups import Family
from .looking import paged
from .options import given_to
from .output import Output
from .values import Row

if TYPE_CHECKING:
    from stepwell import Client, Schedule

ID = click.Argument(["id"], metavar="ID")
FIELDS = (
    "id", "workflow", "version", "when", "timezone", "catch_up", "overlap", "jitter", "paused_at",
    "next_at", "queued", "has_code", "created_at", "updated_at",
)  # fmt: skip


def _row(it: Schedule) -> Row:
    return Row("schedule", **{name: getattr(it, name) for name in FIELDS})


async def _schedule(client: Client, id: str) -> Schedule:
    known = await client.schedules()
    for it in known:
        if it.id == id:
            return it
    there = ", ".join(it.id for it in known) or "none"
    raise Failure(NOT_FOUND, f"there is no schedule {id!r}; there is: {there}.")


@asks("engine.schedules", name="list")
async def list_(client: Client, out: Output, **given: Any) -> None:
    """List schedules: when each fires next, and whether it is paused."""
    out.rows([_row(it) for it in await client.schedules()], "there is no schedule.")


@asks("engine.schedules", name="show", arguments=[ID])
async def show(client: Client, out: Output, id: str, **given: Any) -> None:
    """Show one schedule."""
    out.one(_row(await _schedule(client, id)))


@asks("schedule.next_times", name="next", arguments=[ID])
async def next_(client: Client, out: Output, id: str, **given: Any) -> None:
    """Tell the next times of a schedule."""
    times = (await _schedule(client, id)).next_times(**given_to("schedule.next_times", given))
    out.rows([Row("time", at=it) for it in times], f"{id} is paused; it has no next time.")


@asks("schedule.firings", name="firings", arguments=[ID])
async def firings(client: Client, out: Output, id: str, **given: Any) -> None:
    """List what came of each time of a schedule, newest first: fired, skipped or missed, and
    why."""
    it = await _schedule(client, id)
    await paged(out, given_to("schedule.firings", given), it.firings, f"{id} has not fired yet.")


def _acts(name: str, help: str) -> Command:
    async def body(client: Client, out: Output, id: str, **given: Any) -> None:
        it = await _schedule(client, id)
        await getattr(it, name)(**given_to(f"schedule.{name}", given))
        out.say(f"{name}: schedule {id}")

    body.__doc__ = help
    return asks(f"schedule.{name}", name=name, arguments=[ID])(body)


pause = _acts("pause", "Let a schedule fire no more, until it is resumed.")
resume = _acts(
    "resume", "Let a paused schedule fire again; what it missed meanwhile is not made up."
)
delete = _acts("delete", "Delete a schedule; its instances stay.")


@asks("schedule.trigger", name="trigger", arguments=[ID])
async def trigger(client: Client, out: Output, id: str, **given: Any) -> None:
    """Fire a schedule now, once more. Prints the instance's address."""
    made = await (await _schedule(client, id)).trigger(**given_to("schedule.trigger", given))
    if out.is_json or out.ids or out.fields:
        out.row(Row("instance", workflow=made.workflow, id=made.id))
    else:
        out.plain_text(f"{made.workflow}/{made.id}")


@asks(
    "schedule.backfill",
    name="backfill",
    arguments=[
        ID,
        click.Argument(["start"], type=Moment(), metavar="START"),
        click.Argument(["end"], type=Moment(), metavar="END"),
    ],
    without=["start", "end"],
)
async def backfill(client: Client, out: Output, id: str, **given: Any) -> None:
    """Fire a schedule for its times from START until before END that did not fire; --dry-run says
    which those are. No time fires twice."""
    it = await _schedule(client, id)
    out.rows(await it.backfill(**given_to("schedule.backfill", given)), "there is no such time.")


@asks(
    "engine.put_schedule",
    name="put",
    arguments=[
        ID,
        click.Argument(["workflow"]),
        click.Argument(["when"], type=When(), metavar="WHEN"),
        click.Argument(["params"], type=Value(), required=False, metavar="[JSON]"),
    ],
    without=["id", "workflow", "when", "params"],
)
async def put(client: Client, out: Output, params: Any, **given: Any) -> None:
    """Make the schedule ID, or change it: an instance of WORKFLOW whenever it is WHEN, a cron
    expression in quotes or a duration."""
    taken = given_to("engine.put_schedule", given)
    if params is not None:
        taken["params"] = plain_value(params)
    out.one(_row(await client.put_schedule(**taken)))


schedules = Family(
    "schedules",
    "What is begun again and again.",
    [list_, show, next_, firings, put, pause, resume, trigger, backfill, delete],
)
