"""The shop of the stories in docs/operating.md, as it is deployed: `stepwell run deploys:engine`.

`SHOP_DEPLOY` says which deploy: "first", "bad", whose `order` does something else first, or
"mended", which has both.
"""

import os
import threading

from stepwell import Engine, Retry, Step, current_step, workflow

DEPLOY = os.environ.get("SHOP_DEPLOY", "first")
ENDS = threading.Event()
"""Never set: what stands in a thread stands."""


class AuthError(Exception):
    """The provider refuses the key."""


def charge() -> str:
    """Charges a card."""
    return "charged"


def reserve() -> str:
    """What the bad deploy does first."""
    return "reserved"


async def ordered(step: Step, first: object) -> object:
    """The body of an order."""
    await step.do(first)  # type: ignore[call-overload]
    return (await step.wait_for_event("payment")).payload


@workflow(name="order", version="7")
async def order(step: Step) -> object:
    """As it is deployed today."""
    return await ordered(step, reserve if DEPLOY != "first" else charge)


@workflow(name="order", version="8")
async def mended(step: Step) -> object:
    """As it was, once more."""
    return await ordered(step, charge)


def pay_with_key() -> str:
    """Works once there is a key."""
    if not os.path.exists(os.environ["SHOP_KEY"]):
        raise AuthError("the key has expired")
    return f"paid {current_step().idempotency_key}"


@workflow
async def pay(step: Step) -> str:
    """Retries for hours."""
    retry = Retry(limit=None, delay="1 hour", backoff="constant", jitter=0)
    return await step.do(pay_with_key, name="charge", retry=retry)


@workflow(concurrency=1)
async def render(step: Step) -> None:
    """Its first instance stands."""
    if step.instance.id != "r-1":
        return
    await step.do(ENDS.wait, name="draw", timeout="1 day", abandon_on_cancel=True)


@workflow
async def stock(step: Step) -> None:
    """What else there is: it lies there."""
    await step.wait_for_event("sold")


@workflow
async def ship(step: Step) -> str:
    """Asks somebody."""
    return (await step.wait_for_approval("check", detail={"boxes": 2})).by


engine = Engine(
    os.environ["STEPWELL_STORE"],
    workflows=[order, *([mended] if DEPLOY == "mended" else []), pay, render, ship, stock],
    grace="1 second",
)
