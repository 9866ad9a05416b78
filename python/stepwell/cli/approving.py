"""Commands for approvals: who is asked for what, and the decisions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from .asking import Command, asks
from .exits import CONFLICT, DONE, USAGE, Failure
from .looking import WORKFLOW, paged
from .many import YES, do_to_many, meant
from .options import FILTERS, given_to
from .output import Output

if TYPE_CHECKING:
    from stepwell import Client


@asks("engine.approvals.list", name="approvals", arguments=[WORKFLOW], without=["workflow"])
async def approvals(client: Client, out: Output, workflow: str | None, **given: Any) -> None:
    """List requests for approval, oldest first: those that are open, unless --status says which.
    Their ids are what `approve` and `reject` take."""
    chosen = given_to("engine.approvals.list", given)
    status = given["status"] or "open"
    chosen |= {"workflow": workflow, "status": None if status == "all" else status}
    await paged(out, chosen, client.approvals.list, "no request for approval is there that is so.")


def _decision(name: str, help: str) -> Command:
    one, many = f"engine.approvals.{name}", f"engine.approvals.{name}_all"

    async def body(client: Client, out: Output, target: str | None, yes: bool, **given: Any) -> int:
        dry_run = bool(given.pop("dry_run", None))
        if target is not None and "#" in target:
            chosen = [key for key in (*FILTERS, "name") if key != "reason" and given.get(key)]
            if chosen or dry_run:
                raise Failure(USAGE, f"{target} is one request; filters and --dry-run are of many.")
            if await getattr(client.approvals, name)(target, **given_to(one, given)):
                out.say(f"{name}: {target} is decided")
                return DONE
            raise Failure(CONFLICT, f"{target} was decided before, and stays as it was.")
        if target is not None and "/" in target:
            raise Failure(
                USAGE, f"{target!r} is no request; `stepwell approvals` has their ids, such as "
                f"{target}#NAME#1.",
            )  # fmt: skip
        reason = given.pop("reason")
        [filters] = await meant(client, () if target is None else (target,), given)
        taken = {**given_to(many, {**given, **filters}), **filters}
        if reason is not None:
            taken["reason"] = reason
        return await do_to_many(
            client, out, name, getattr(client.approvals, f"{name}_all"), [taken], yes=yes,
            dry_run=dry_run,
        )  # fmt: skip

    body.__doc__ = help
    return asks(
        one,
        many,
        name=name,
        arguments=[click.Argument(["target"], required=False, metavar="[ID | WORKFLOW]")],
        without=["id", "ids", "workflow"],
        more=[YES],
    )(body)


approve = _decision(
    "approve",
    "Approve a request by its ID, or all open ones of instances that filters choose. Exit code 4 "
    "if it was decided before.",
)
reject = _decision("reject", "Reject a request by its ID, or all; as `approve`.")
