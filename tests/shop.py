"""A shop whose instances stand in every way, for the command line to be asked about: run with
`stepwell run shop:engine`."""

import os
import threading

from stepwell import Engine, Retry, Step, workflow

ENDS = threading.Event()
"""Set when what stands in a thread may go on."""


class AuthError(Exception):
    """The provider refuses the key."""


def charge() -> str:
    """Works once there is a key."""
    if not os.path.exists(os.environ["SHOP_KEY"]):
        raise AuthError("the key has expired")
    return "charged"


def render() -> None:
    """Stands."""
    ENDS.wait()


@workflow
async def order(step: Step, params: object = None) -> object:
    """Waits to be paid."""
    return {"params": params, "paid": (await step.wait_for_event("paid")).payload}


@workflow
async def pay(step: Step) -> str:
    """Charges, and retries for hours."""
    return await step.do(
        charge, retry=Retry(limit=None, delay="1 hour", backoff="constant", jitter=0)
    )


@workflow(concurrency=1)
async def draw(step: Step) -> None:
    """Holds its only slot."""
    await step.do(render, abandon_on_cancel=True)


@workflow
async def ship(step: Step) -> str:
    """Asks somebody."""
    return (await step.wait_for_approval("ship it?", detail={"boxes": 2})).by


@workflow
async def fail(step: Step) -> None:
    """Fails."""
    raise ValueError("no such address")


@workflow
async def asked(step: Step) -> None:
    """Answers, once."""
    event = await step.wait_for_event("question")
    await event.reply({"answer": event.payload})


engine = Engine(
    os.environ.get("STEPWELL_STORE", "shop.db"),
    workflows=[order, pay, draw, ship, fail, asked],
    grace="1 second",
)
