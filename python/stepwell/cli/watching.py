"""`stepwell watch` and `stepwell export`: one instance, or all, as it goes; and one as it is."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import click
import trio

from .addresses import found, seconds
from .asking import asks
from .creating import FOR
from .exits import CONFLICT, DONE, ENDED_BADLY, TIMED_OUT, USAGE, Failure
from .looking import INSTANCE
from .options import STATES, given_to
from .output import Output

if TYPE_CHECKING:
    from stepwell import Client


@asks(
    "instance.watch",
    "engine.changes",
    "instance.wait_for_status",
    name="watch",
    arguments=[click.Argument(["instance"], required=False, metavar="[WORKFLOW/ID]")],
    without=["statuses"],
    more=[
        click.Option(
            ["--until"], type=click.Choice(STATES), multiple=True, metavar="STATE",
            help="End, with exit code 0, when it is in this state; may be given several times.",
        ),
        FOR,
    ],
)  # fmt: skip
async def watch(
    client: Client,
    out: Output,
    instance: str | None,
    until: tuple[str, ...],
    patience: Any,
    **given: Any,
) -> int:
    """Follow an instance until it has ended: what is recorded of it, its states, its progress.
    Exit code 1 if it errored or was terminated. Without an instance, follow all: each that is new
    or in another state."""
    limit = None if patience is None else seconds(patience)
    with trio.move_on_after(float("inf") if limit is None else limit) as scope:
        if instance is None:
            if until:
                raise Failure(USAGE, "--until is about one instance; name it.")
            async with client.changes(**given_to("engine.changes", given)) as changes:
                async for it in changes:
                    out.row(it)
            return DONE
        return await _followed(client, out, instance, until, given)
    assert scope.cancelled_caught, "it returns, or was too late"
    raise Failure(TIMED_OUT, f"that was {limit:g} seconds.")


async def _followed(
    client: Client, out: Output, instance: str, until: tuple[str, ...], given: dict[str, Any]
) -> int:
    it = await found(client, instance)
    status = None
    async with it.watch(**given_to("instance.watch", given)) as updates:
        async for update in updates:
            out.row(update)
            status = update.status if update.kind == "status" else status
            if status in until:
                return DONE
    status = status or (await it.status()).status
    if until and status not in until:
        raise Failure(
            CONFLICT, f"{it.workflow}/{it.id} is {status}, and will not be {' or '.join(until)}."
        )
    return ENDED_BADLY if status in ("errored", "terminated") and not until else DONE


@asks(
    "instance.export",
    name="export",
    arguments=[INSTANCE, click.Argument(["path"], required=False, metavar="[FILE]")],
)
async def export(
    client: Client, out: Output, instance: str, path: str | None, **given: Any
) -> None:
    """Write all there is of an instance as JSON, to standard output or into a new FILE, for
    `stepwell.testing.check_replay` and for whoever helps you."""
    it = await found(client, instance)
    if path is None:
        out.document(await it.export())
        return
    import json

    if os.path.exists(path):
        raise Failure(USAGE, f"{path} is there already; give a new file.")
    text = json.dumps(await it.export())
    try:
        with open(path, "x", encoding="utf-8") as file:
            file.write(f"{text}\n")
    except OSError as error:
        raise Failure(USAGE, f"{path} cannot be written: {error.strerror}.") from None
    out.say(f"{it.workflow}/{it.id} is written to {path}")
