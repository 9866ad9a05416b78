"""Commands about the engine as a whole: its queues, limits, versions, audit, store."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

import click
import trio

from .addresses import split
from .asking import asks, not_there, of_command
from .escaping import in_line
from .exits import DONE, PARTLY, USAGE, Failure
from .groups import Family
from .looking import WORKFLOW, paged
from .many import YES
from .options import given_to
from .output import Output, several
from .values import Row

if TYPE_CHECKING:
    from stepwell import Client


@asks("engine.count", name="count", arguments=[WORKFLOW], without=["workflow"])
async def count(client: Client, out: Output, workflow: str | None, **given: Any) -> None:
    """Count instances by state."""
    counts = await client.count(workflow, **given_to("engine.count", given))
    is_empty = not any(counts.values())
    if is_empty and (wrong := await not_there(client, of_command("namespace"), workflow)):
        raise wrong
    out.one(Row("counts", **{status.value: number for status, number in counts.items()}))


@asks("engine.queue", name="queue", arguments=[click.Argument(["workflow"])], without=["workflow"])
async def queue(client: Client, out: Output, workflow: str, **given: Any) -> None:
    """Say why instances of WORKFLOW are queued: which limit holds them up, who set it, and who has
    had its slots longest."""
    told = await client.queue(workflow)
    out.text(told, str(told))
    if not out.is_json and not out.fields and told.holders:
        out.rows(told.holders)


@asks(
    "engine.versions",
    name="versions",
    arguments=[WORKFLOW],
    without=["workflow"],
    more=[
        click.Option(
            ["--bytes", "with_bytes"], is_flag=True,
            help="Also what each takes of the store: told from some of its instances.",
        )
    ],
)  # fmt: skip
async def versions(
    client: Client, out: Output, workflow: str | None, with_bytes: bool, **given: Any
) -> None:
    """List versions of workflows: whether there is code for each, and its instances by state."""
    rows: list[Any] = await client.versions(workflow)
    if with_bytes:
        from .sizing import sized

        rows = await sized(client, rows)
    out.rows(rows, "no workflow is registered, and there is no instance.")


@asks(
    "engine.audit",
    name="audit",
    arguments=[click.Argument(["of"], required=False, metavar="[WORKFLOW | WORKFLOW/ID]")],
    without=["workflow", "id"],
)
async def audit(client: Client, out: Output, of: str | None, **given: Any) -> None:
    """List who did what, newest first: of everything, of a workflow, or of an instance."""
    workflow, id = (None, None) if of is None else split(of) or (of, None)
    chosen = given_to("engine.audit", given) | {"workflow": workflow, "id": id}
    await paged(out, chosen, client.audit, "nobody did anything yet.")


@asks("engine.limits", name="show", arguments=[WORKFLOW], without=["workflow"])
async def show(client: Client, out: Output, workflow: str | None, **given: Any) -> None:
    """Show the limits that are in force, of the namespace or of a workflow."""
    out.one(await client.limits(workflow))


@asks("engine.set_limits", "engine.limits", name="set", arguments=[WORKFLOW], without=["workflow"])
async def set_(client: Client, out: Output, workflow: str | None, **given: Any) -> None:
    """Change limits, of the namespace or of a workflow: durable, and in force at once. `none`
    clears what was set."""
    taken = given_to("engine.set_limits", given)
    changes = {key: _number(key, it) for key, it in taken.items() if key not in ("actor", "note")}
    if not changes:
        raise Failure(USAGE, "say what is to change, such as --concurrency 10.")
    await client.set_limits(workflow, **(taken | changes))
    out.one(await client.limits(workflow))


def _number(name: str, text: str) -> Any:
    if text.lower() == "none":
        return None
    try:
        return float(text) if name == "create_rate" else int(text.replace("_", ""))
    except ValueError:
        raise Failure(
            USAGE, f"--{name.replace('_', '-')}: {text!r} is neither a number nor none."
        ) from None


limits = Family("limits", "What may run, wait and be created.", [show, set_])


@asks("engine.namespaces", name="list")
async def list_(client: Client, out: Output, **given: Any) -> None:
    """List the namespaces that any instance was created in."""
    names = await client.namespaces()
    out.rows([Row("namespace", id=it) for it in names], "there is no instance yet.")


@asks(
    "engine.delete_all",
    name="delete",
    arguments=[click.Argument(["name"], metavar="NAME")],
    without=["confirm"],
    more=[YES],
)
async def delete(client: Client, out: Output, name: str, yes: bool, **given: Any) -> int:
    """Remove the namespace NAME with everything of it. On a terminal its name is to be typed once
    more; else --yes is needed."""
    if not yes:
        if not (sys.stdin.isatty() and sys.stderr.isatty()):
            raise Failure(USAGE, f"that removes all of {name}; say --yes, or ask on a terminal.")
        if await trio.to_thread.run_sync(_typed, name) != name:
            raise click.Abort
    tenant = client.namespace(name)
    result = await tenant.delete_all(confirm=name, **given_to("engine.delete_all", given))
    if out.is_json:
        out.row(result)
    out.say(f"namespaces delete: {name} is gone, {several(result.done, 'instance')}")
    return PARTLY if result.errors else DONE


def _typed(name: str) -> str:
    return str(click.prompt(f"type {in_line(name)} to remove it", err=True, default="",
                            show_default=False))  # fmt: skip


namespaces = Family("namespaces", "Tenants of the engine.", [list_, delete])


@asks(
    "engine.backup",
    name="backup",
    arguments=[click.Argument(["path"], metavar="PATH")],
    without=["path"],
)
async def backup(client: Client, out: Output, path: str, **given: Any) -> None:
    """Copy the store into the new file PATH, while everything goes on."""
    if path == "-":
        raise Failure(USAGE, "a store is no stream; give the path of a new file.")
    await client.backup(path)
    out.say(f"the store is copied to {os.path.abspath(path)}, {os.path.getsize(path):,} bytes")


@asks("engine.drain", name="drain")
async def drain(client: Client, out: Output, **given: Any) -> None:
    """Have the engine begin nothing more, and wait until nothing runs in it; it does not go on by
    itself: end its process, and start it anew."""
    await client.drain(**given_to("engine.drain", given))
    out.say("drained: nothing runs in the engine any more.")


@asks(
    "engine.reshard",
    name="reshard",
    arguments=[click.Argument(["shards"], type=int)],
    without=["shards"],
)
async def reshard(client: Client, out: Output, shards: int, **given: Any) -> None:
    """Spread the instances over another number of coordinators, 1 to 4,096, while they run."""
    await client.reshard(shards)
    out.say(f"the instances are spread over {several(shards, 'shard')}")
