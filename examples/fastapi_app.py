"""Orders behind HTTP: a workflow with an approval, started, watched and approved by requests.

    uvicorn examples.fastapi_app:app                      # one worker: one process owns the store
    curl -X POST localhost:8000/orders -H 'content-type: application/json' -d '{"id": "o-1", "item":
    "tea", "amount": 250}' curl localhost:8000/orders/o-1                        # waits for
    approval; kill the server and start it again: it still does curl -X POST
    localhost:8000/orders/o-1/approve -H 'content-type: application/json' -d '{"by": "ann"}'

The engine lives in the application's lifespan, beside a warehouse that stands for whatever an
application opens there. Steps run on the server's own loop, so they may use it.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from fastapi import FastAPI, HTTPException, Request
from pydantic import BaseModel, Field

from stepwell import (
    InstanceExists,
    InstanceNotFound,
    InvalidName,
    Overloaded,
    Rejected,
    Step,
    aio,
    workflow,
)

NEEDS_APPROVAL = 100


class Warehouse:
    """Stands for a pool of connections: made on the server's loop, and of no use on another."""

    def __init__(self) -> None:
        self._lock = asyncio.Lock()
        self.stock: dict[str, int] = {}

    async def take(self, item: str, count: int) -> int:
        async with self._lock:
            self.stock[item] = self.stock.get(item, 100) - count
            return self.stock[item]


warehouse: Warehouse


class Order(BaseModel):
    """What a customer wants."""

    id: str = Field(max_length=100)
    item: str
    amount: int = Field(gt=0)


@dataclass
class Receipt:
    """What came of an order."""

    outcome: str
    left: int | None = None
    decided_by: str | None = None


async def reserve(item: str) -> int:
    return await warehouse.take(item, 1)


async def release(item: str) -> int:
    return await warehouse.take(item, -1)


async def charge(amount: int) -> str:
    await asyncio.sleep(0)  # a call to a bank
    return f"charged {amount}"


@workflow
async def order(step: Step, wanted: Order) -> Receipt:
    left = await step.do(reserve, wanted.item)
    decided_by = None
    if wanted.amount > NEEDS_APPROVAL:
        try:
            decided_by = (
                await step.wait_for_approval(
                    "manager", detail=wanted.model_dump(), timeout="7 days"
                )
            ).by
        except Rejected as refusal:
            left = await step.do(release, wanted.item)
            return Receipt("rejected", left, refusal.by)
    return Receipt(await step.do(charge, wanted.amount), left, decided_by)


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    global warehouse
    warehouse = Warehouse()
    async with aio.Engine(
        os.environ.get("ORDERS_DB", "orders.db"), workflows=[order], name="orders"
    ) as engine:
        app.state.engine = engine
        yield


app = FastAPI(title="Orders", lifespan=lifespan)


class Decision(BaseModel):
    """Who decides."""

    by: str
    reason: str | None = None


@app.post("/orders", status_code=202)
async def place(wanted: Order, request: Request) -> dict[str, Any]:
    try:
        instance = await request.app.state.engine.create(order, wanted, id=wanted.id)
    except InstanceExists as error:
        raise HTTPException(409, str(error)) from None
    except InvalidName as error:
        raise HTTPException(422, str(error)) from None
    except Overloaded as error:
        raise HTTPException(
            503, str(error), {"retry-after": str(round(error.retry_after) + 1)}
        ) from None
    return {"id": instance.id}


@app.get("/orders/{id}")
async def look(id: str, request: Request) -> dict[str, Any]:
    found = await _find(id, request)
    status = await found.status()
    return {
        "id": id,
        "status": status.status,
        "why": str(await found.explain()),
        "receipt": status.output,
    }


@app.post("/orders/{id}/approve")
async def approve(id: str, decision: Decision, request: Request) -> dict[str, bool]:
    return await _decide(id, decision, request, approved=True)


@app.post("/orders/{id}/reject")
async def reject(id: str, decision: Decision, request: Request) -> dict[str, bool]:
    return await _decide(id, decision, request, approved=False)


async def _find(id: str, request: Request) -> aio.Instance[Receipt]:
    try:
        return await request.app.state.engine.get(order, id)
    except (InstanceNotFound, InvalidName) as error:
        raise HTTPException(404, str(error)) from None


async def _decide(
    id: str, decision: Decision, request: Request, *, approved: bool
) -> dict[str, bool]:
    await _find(id, request)
    approvals = request.app.state.engine.approvals
    decide = approvals.approve if approved else approvals.reject
    return {"first": await decide(f"order/{id}#manager#1", by=decision.by, reason=decision.reason)}
