"""`stepwell watch`, `stream` and `export`: one instance, or all, as it goes; and one as it is."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import click

from .addresses import found, is_instance
from .asking import asks, unheard_of
from .creating import FOR, within
from .exits import CONFLICT, DONE, ENDED_BADLY, USAGE, Failure
from .looking import INSTANCE
from .options import STATES, given_to
from .output import Output

if TYPE_CHECKING:
    from stepwell import Client

_ENDS = "Ctrl-C ends that"


@asks(
    "instance.watch",
    "engine.changes",
    "instance.wait_for_status",
    name="watch",
    arguments=[click.Argument(["target"], required=False, metavar="[WORKFLOW | WORKFLOW/ID]")],
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
    target: str | None,
    until: tuple[str, ...],
    patience: float | None,
    **given: Any,
) -> int:
    """Follow an instance until it has ended: what is recorded of it, its states, its progress.
    Exit code 1 if it errored or was terminated. Of a WORKFLOW, or without one, follow all: each
    that is new or in another state."""

    async def follows() -> int:
        if target is not None and is_instance(target):
            return await _followed(client, out, target, until, given)
        if until:
            raise Failure(USAGE, "--until is about one instance; name it.")
        await _follow_all(client, out, target, given)
        return DONE

    return await within(patience, follows, "watching ended")


async def _follow_all(
    client: Client, out: Output, workflow: str | None, given: dict[str, Any]
) -> None:
    if workflow is not None and (wrong := await unheard_of(client, workflow)):
        raise wrong
    async with client.changes(**given_to("engine.changes", given)) as changes:
        out.say(f"watching all instances{'' if workflow is None else f' of {workflow}'}; {_ENDS}")
        async for it in changes:
            if it.kind == "reset" and not out.is_json:
                out.say("some changes were missed: look at what matters anew, with `list`")
            elif workflow in (None, it.workflow) or it.kind == "reset":
                out.row(it)


async def _followed(
    client: Client, out: Output, instance: str, until: tuple[str, ...], given: dict[str, Any]
) -> int:
    it = await found(client, instance)
    status = None
    async with it.watch(**given_to("instance.watch", given)) as updates:
        seen = (await it.status()).status
        out.say(f"watching {it.workflow}/{it.id}, which is {seen.replace('_', ' ')}; {_ENDS}")
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
    "instance.stream",
    "engine.stream",
    name="stream",
    arguments=[INSTANCE, click.Argument(["stream"], metavar="NAME")],
    without=["workflow", "id", "name"],
    more=[FOR],
)
async def stream(
    client: Client, out: Output, instance: str, stream: str, patience: float | None, **given: Any
) -> int:
    """Read what an instance sends in the stream NAME, from the start or from --cursor, until the
    instance has ended."""

    async def reads() -> int:
        it = await found(client, instance)
        async with it.stream(stream, **given_to("instance.stream", given)) as chunks:
            out.say(f"reading {stream} of {it.workflow}/{it.id}; {_ENDS}")
            async for chunk in chunks:
                out.row(chunk)
        return DONE

    return await within(patience, reads, "reading ended")


@asks(
    "instance.export",
    name="export",
    arguments=[INSTANCE, click.Argument(["path"], required=False, metavar="[FILE]")],
)
async def export(
    client: Client, out: Output, instance: str, path: str | None, **given: Any
) -> None:
    """Write all there is of an instance as JSON, to standard output (also as `-`) or into a new
    FILE, for `stepwell.testing.check_replay` and for whoever helps you."""
    it = await found(client, instance)
    if path is None or path == "-":
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
