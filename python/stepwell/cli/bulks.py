"""`stepwell bulk`: what is being done to many, and what was in the last 30 days."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from .asking import asks
from .exits import NOT_FOUND, Failure
from .groups import Family
from .looking import paged
from .options import given_to
from .output import Output
from .wording import text_of

if TYPE_CHECKING:
    from stepwell import Bulk, Client

NOTHING = "nothing was done to many in the last 30 days."
ID = click.Argument(["id"], metavar="ID")


@asks("engine.bulk.list", name="list")
async def list_(client: Client, out: Output, **given: Any) -> None:
    """List what is done to many, newest first."""
    await paged(out, given_to("engine.bulk.list", given), client.bulk.list, NOTHING)


async def _got(client: Client, id: str) -> Bulk:
    from stepwell import InvalidConfig

    try:
        return await client.bulk.get(id)
    except InvalidConfig as error:
        raise Failure(NOT_FOUND, text_of(error)) from None


@asks("engine.bulk.get", name="show", arguments=[ID], without=["id"])
async def show(client: Client, out: Output, id: str, **given: Any) -> None:
    """Show one: how far it is, and who refused it, by error."""
    out.one(await _got(client, id))


@asks("engine.bulk.stop", name="stop", arguments=[ID], without=["id"])
async def stop(client: Client, out: Output, id: str, **given: Any) -> None:
    """Stop one: what is done stays done."""
    await _got(client, id)
    out.one(await client.bulk.stop(id, **given_to("engine.bulk.stop", given)))


bulk = Family("bulk", "What is done to many instances.", [list_, show, stop])
