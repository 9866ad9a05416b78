"""Commands that begin instances, send to them, and wait for what comes of them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click
import trio

from .addresses import Given, Span, Value, found
from .asking import asks
from .exits import DONE, TIMED_OUT, Failure
from .looking import INSTANCE
from .many import OPTIONS, chooses, do_to_many, meant
from .options import given_to
from .output import Output, several
from .values import Row

if TYPE_CHECKING:
    from stepwell import Client

T = TypeVar("T")
TYPE = click.Argument(["type"], metavar="TYPE")
PAYLOAD = click.Argument(["payload"], type=Value(), required=False, metavar="[JSON]")
FOR = click.Option(
    ["--timeout", "patience"], type=Span(), metavar="DURATION",
    help="Wait at most so long; exit code 124 then.",
)  # fmt: skip


def plain_value(given: Given | None) -> Any:
    """Returns the value that was given, None if none was."""
    return None if given is None else given.value


async def within(patience: float | None, what: Callable[[], Awaitable[T]], told: str) -> T:
    """Returns what is waited for.

    Args:
        patience: For how many seconds; None: for as long as it takes.
        what: Begins it.
        told: What has not come to pass, if it takes longer.

    Raises:
        Failure: It took too long.
    """
    if patience is None:
        return await what()
    with trio.move_on_after(patience) as scope:
        return await what()
    assert scope.cancelled_caught, "it returns, or was too late"
    raise Failure(TIMED_OUT, f"{told} after {several(patience, 'second')}.")


@asks(
    "engine.create",
    name="create",
    arguments=[
        click.Argument(["workflow"]),
        click.Argument(["params"], type=Value(), required=False, metavar="[JSON]"),
    ],
    without=["workflow", "params"],
    more=[click.Option(["--result"], is_flag=True, help="Wait for its result, and print that.")],
)
async def create(
    client: Client, out: Output, workflow: str, params: Given | None, result: bool, **given: Any
) -> int | None:
    """Create an instance of WORKFLOW with params in JSON: `-` reads standard input, `@file` a
    file. Prints its address."""
    from stepwell import Retention

    taken = given_to("engine.create", given)
    if "retention" in taken:
        taken["retention"] = Retention(success=taken["retention"], error=taken["retention"])
    if params is not None:
        taken["params"] = params.value
    it = await client.create(workflow, **taken)
    row = Row("instance", workflow=it.workflow, id=it.id)
    if result:
        out.say(f"{it.workflow}/{it.id}")
        out.value(await it.result())
    elif out.is_json or out.fields or out.ids:
        out.row(row)
    else:
        out.plain_text(f"{it.workflow}/{it.id}")
    return DONE


@asks("instance.result", name="result", arguments=[INSTANCE], more=[FOR])
async def result(
    client: Client, out: Output, instance: str, patience: float | None, **given: Any
) -> None:
    """Wait for an instance, and print what it returned, in JSON. Exit code 1 if it errored or was
    terminated."""
    it = await found(client, instance)
    out.value(await within(patience, it.result, f"{it.workflow}/{it.id} has not ended"))


@asks(
    "instance.send_event",
    "engine.send_event_all",
    name="send-event",
    arguments=[
        click.Argument(["target"], metavar="[WORKFLOW/ID | WORKFLOW]", required=True), TYPE,
        PAYLOAD,
    ],
    without=["type", "payload", "workflow", "ids"],
    more=OPTIONS,
)  # fmt: skip
async def send_event(
    client: Client,
    out: Output,
    target: str,
    type: str,
    payload: Given | None,
    yes: bool,
    **given: Any,
) -> int | None:
    """Send an event of TYPE to an instance, or to all of WORKFLOW that filters choose; `all` is
    every workflow. The payload is JSON: `-` reads standard input, `@file` a file."""
    dry_run = bool(given.pop("dry_run", None))
    targets = () if target == "all" else (target,)
    if not chooses(targets, given) and not dry_run:
        it = await found(client, target)
        await it.send_event(type, plain_value(payload), **given_to("instance.send_event", given))
        out.say(f"{type} is sent to {it.workflow}/{it.id}")
        return DONE
    name = "engine.send_event_all"
    narrowed = {key: given.get(key) for key in ("step", "error_type")}
    [chosen] = await meant(client, targets, given_to(name, given) | narrowed)
    taken = {**given_to(name, {**given, **chosen}), **chosen}
    taken |= {"type": type, "payload": plain_value(payload)}
    return await do_to_many(
        client, out, "send-event", client.send_event_all, [taken], yes=yes, dry_run=dry_run
    )


@asks(
    "instance.request",
    name="request",
    arguments=[INSTANCE, TYPE, PAYLOAD],
    without=["type", "payload", "as_type"],
)
async def request(
    client: Client, out: Output, instance: str, type: str, payload: Given | None, **given: Any
) -> None:
    """Send an event that wants an answer, wait for that, and print it in JSON. Exit code 124 if
    none comes in time."""
    it = await found(client, instance)
    out.value(await it.request(type, plain_value(payload), **given_to("instance.request", given)))
