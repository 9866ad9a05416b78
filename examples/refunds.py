"""A hundred refunds: small ones are paid at once, large ones wait for a person. Run it, kill it,
run it again.

    python examples/refunds.py [STORE]

Every refund is an instance. The payment provider is slow and fails now and then; it is called with
an idempotency key, because a crash can come after the call and before its outcome is recorded.
"""

import random
import sys
from dataclasses import dataclass

import trio

from stepwell import (
    Engine,
    NewInstance,
    Rejected,
    Retry,
    Step,
    current_step,
    step_options,
    workflow,
)


@dataclass
class Refund:
    order: str
    cents: int


class ProviderBusy(Exception):
    """The provider asks to come back later."""


@step_options(retry=Retry(limit=10, delay="100 ms", retry_on=(ProviderBusy,)), timeout="5 seconds")
async def pay(refund: Refund) -> str:
    """Stands for a call to a payment provider; a real one would be given this key."""
    key = current_step().idempotency_key
    await trio.sleep(0.01)
    if random.random() < 0.2:
        raise ProviderBusy(refund.order)
    return f"paid-{key[:8]}"


@workflow
async def refund(step: Step, params: Refund) -> str:
    if params.cents > 50_000:
        try:
            await step.wait_for_approval(
                "large refund",
                detail={"order": params.order, "cents": params.cents},
                timeout="7 days",
            )
        except Rejected as no:
            return f"refused by {no.by}"
    return await step.do(pay, params)


async def main(store: str) -> None:
    async with Engine(store, workflows=[refund]) as engine:
        items = [NewInstance(Refund(f"o-{i}", i * 1_000), id=f"o-{i}") for i in range(1, 101)]
        batch = await engine.create_batch(refund, items, if_exists="return")
        small = [
            instance
            for instance, item in zip(batch.created, items, strict=True)
            if item.params.cents <= 50_000
        ]
        for instance in small:
            await instance.result()
        requests = await engine.approvals.list(refund)
        print(f"{len(small)} small refunds are paid, {len(requests)} large ones wait for you")
        for request in requests:
            decide = (
                engine.approvals.approve
                if request.detail["cents"] <= 90_000
                else engine.approvals.reject
            )
            await decide(request.id, by="example", reason="the example decides by size")
        outputs = [await instance.result() for instance in batch.created]
        print(
            f"{sum(o.startswith('paid') for o in outputs)} paid, "
            f"{sum(o.startswith('refused') for o in outputs)} refused"
        )


if __name__ == "__main__":
    trio.run(main, sys.argv[1] if len(sys.argv) > 1 else "refunds.db")
