"""Commands that act on one instance, or on many: pause, resume, terminate, and their like."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from .addresses import at_place, found
from .asking import Command, asks
from .exits import DONE, USAGE, Failure
from .looking import INSTANCE
from .many import OPTIONS, TARGETS, chooses, do_to_many, meant
from .options import given_to
from .output import Output

if TYPE_CHECKING:
    from stepwell import Client, Instance, RestartPreview


def _verb(name: str, method: str, help: str) -> Command:
    """Makes the command of something that is done to one instance, or to many."""
    one, many = f"instance.{method}", f"engine.{method}"

    async def body(
        client: Client, out: Output, targets: tuple[str, ...], yes: bool, **given: Any
    ) -> int:
        dry_run = bool(given.pop("dry_run", None))
        is_many = chooses(targets, given)
        if not is_many and (not dry_run or method == "restart"):
            instance = await found(client, targets[0])
            await _to_one(instance, out, name, method, given_to(one, given), dry_run)
            return DONE
        each = [
            {**given_to(many, {**given, **chosen}), **chosen}
            for chosen in await meant(client, targets, given_to(many, given) | _group(given))
        ]
        return await do_to_many(
            client, out, name, getattr(client, method), each, yes=yes, dry_run=dry_run
        )

    body.__doc__ = help
    return asks(
        one, many, name=name, arguments=[TARGETS], without=["workflow", "ids"], more=OPTIONS
    )(body)


def _group(given: dict[str, Any]) -> dict[str, Any]:
    return {key: given[key] for key in ("step", "error_type") if given.get(key)}


async def _to_one(
    instance: Instance[Any],
    out: Output,
    name: str,
    method: str,
    given: dict[str, Any],
    dry_run: bool,
) -> None:
    who = f"{instance.workflow}/{instance.id}"
    step = given.get("from_step")
    if step is not None and step != "failed":
        given["from_step"] = at_place(await instance.history(), step, who).ref
    if dry_run:
        _told(out, await instance.restart(**given, dry_run=True))
        return
    await getattr(instance, method)(**given)
    if method == "delete":
        out.say(f"{who} is deleted")
    else:
        out.say(f"{name}: {who} is {(await instance.status()).status.replace('_', ' ')}")


def _told(out: Output, seen: RestartPreview) -> None:
    if out.is_json:
        out.row(seen)
        return
    out.say(f"kept, {len(seen.kept):,}:")
    out.rows(seen.kept, "  nothing")
    out.say(f"erased, and done again, {len(seen.erased):,}:")
    out.rows(seen.erased, "  nothing")


pause = _verb(
    "pause",
    "pause",
    "Pause instances: what runs in them ends, and nothing more begins. One by its address, or all "
    "that filters choose.",
)
resume = _verb(
    "resume",
    "resume",
    "Let paused and blocked instances go on, as another version if --to-version says so.",
)
restart = _verb(
    "restart",
    "restart",
    "Restart instances, those that have ended too: from the start, or from where --from-step "
    "says; what was recorded before that is kept.",
)
terminate = _verb(
    "terminate", "terminate", "End instances for good; with --undo they undo their steps first."
)
delete = _verb("delete", "delete", "Delete instances, with all that is recorded of them.")
retry = _verb(
    "retry",
    "retry_now",
    "Make the next attempts now that would only come later; --rate spares who has just recovered.",
)


@asks("instance.start_now", name="start-now", arguments=[INSTANCE])
async def start_now(client: Client, out: Output, instance: str, **given: Any) -> None:
    """Let an instance wait for its start time no longer."""
    it = await found(client, instance)
    await _to_one(it, out, "start-now", "start_now", given_to("instance.start_now", given), False)


@asks(
    "instance.set_priority",
    name="set-priority",
    arguments=[INSTANCE, click.Argument(["priority"], type=int)],
    without=["priority"],
)
async def set_priority(client: Client, out: Output, instance: str, **given: Any) -> None:
    """Give a queued instance another priority, from -100 to 100, higher first; write a negative
    one as `-- WORKFLOW/ID -5`."""
    it = await found(client, instance)
    taken = given_to("instance.set_priority", given)
    await _to_one(it, out, "set-priority", "set_priority", taken, False)


@asks(
    "instance.resolve",
    name="resolve",
    arguments=[INSTANCE, click.Argument(["step"], metavar="STEP")],
    without=["ref"],
)
async def resolve(client: Client, out: Output, instance: str, step: str, **given: Any) -> None:
    """Set the outcome of a stuck step by hand: what it returned (--value), or how it failed
    (--error). STEP is what `stepwell history` calls it. Pause the instance first."""
    import stepwell

    if (given["value"] is None) == (given["error"] is None):
        raise Failure(USAGE, "give either --value JSON or --error TEXT.")
    it = await found(client, instance)
    taken = given_to("instance.resolve", given)
    if "error" in taken:
        taken["error"] = stepwell.NonRetryableError(taken["error"])
    ref = at_place(await it.history(), step, f"{it.workflow}/{it.id}").ref
    await it.resolve(ref, **taken)
    out.say(f"resolve: {step} of {it.workflow}/{it.id} has its outcome")
