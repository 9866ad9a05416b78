"""The driver: creates instances, sends events, decides approvals and awaits results, at a steady
rate.

It remembers nothing itself. A new life reads in the journal what was acknowledged before, and asks
again for what was not, in ways that can be repeated: the same id, the same `dedup_id`. What was
acknowledged it never asks for again: an instance that was created and is not there is an error, not
a wish.
"""

import os
import random
from pathlib import Path
from typing import Any

from stepwell import InstanceNotFound, InvalidState, NewInstance

from . import journal, plans, steps
from .programs import parent


class Driver:
    """The load of one life.

    Args:
        engine: Of any front; its methods are awaited.
        seed: Of the round.
        path: The journal.
        way: What the driver itself runs on; see `ways`.
    """

    def __init__(self, engine: Any, seed: int, path: Path, way: Any) -> None:
        self._engine = engine
        self._way = way
        self._seed = seed
        self._random = random.Random()
        self._batches: list[list[int]] = []
        self._created: set[int] = set()
        self._sent: set[tuple[int, str, int]] = set()
        self._ended: set[int] = set()
        for line in journal.read(path)[0]:
            if line.op == "c":
                self._batches.append(line.data)
            elif line.op == "C":
                self._created.update(line.data)
            elif line.op == "E":
                self._sent.add((int(line.instance), line.label, line.data))
            elif line.op == "R":
                self._ended.add(int(line.instance))

    async def run(self, width: int, most: int) -> None:
        """Drives what is unfinished, then new instances until there are `most`; at most `width` at
        once."""
        limit = self._way.limit(width)
        async with self._way.group() as nursery:
            for batch in self._batches:
                nursery.start_soon(self._begin, nursery, limit, batch)
            first = 1 + max((n for batch in self._batches for n in batch), default=-1)
            while first < most:
                async with limit:  # there is room for one more
                    pass
                batch = list(range(first, first + (3 if first % 5 == 0 else 1)))
                first = batch[-1] + 1
                steps.journal.put("c", data=batch)
                nursery.start_soon(self._begin, nursery, limit, batch)
                await self._way.sleep(0.005)

    async def _begin(self, nursery: Any, limit: Any, batch: list[int]) -> None:
        if not self._created.issuperset(batch):
            await self._create(batch)
        for number in batch:
            if number not in self._ended:
                nursery.start_soon(self._serve, limit, number)

    async def _create(self, batch: list[int]) -> None:
        """Creates a batch that nobody acknowledged: all of it is there already, or nothing."""
        there = [number for number in batch if await self._exists(number)]
        if there and len(there) < len(batch):
            steps.journal.put("X", data=f"of batch {batch} only {there} was created")
        if len(batch) == 1:
            await self._engine.create(
                parent, [self._seed, batch[0]], id=str(batch[0]), if_exists="return"
            )
        else:
            items = [NewInstance([self._seed, number], id=str(number)) for number in batch]
            result = await self._engine.create_batch(parent, items, if_exists="return")
            if result.errors:
                steps.journal.put("X", data=f"create_batch: {result.errors}")
        steps.journal.put("C", data=batch)

    async def _exists(self, number: int) -> bool:
        try:
            await self._engine.get(parent, str(number))
        except InstanceNotFound:
            return False
        return True

    async def _serve(self, limit: Any, number: int) -> None:
        """Does for one instance what its plan asks of the outside."""
        async with limit:
            try:
                instance = await self._engine.get(parent, str(number))
            except InstanceNotFound:
                steps.journal.put("X", str(number), data="was acknowledged and is lost")
                return
            async with self._way.group() as nursery:
                for part in plans.walk(plans.plan(self._seed, number)):
                    nursery.start_soon(self._send, instance, number, part.prefix, plans.sends(part))
                    if part.kind == "approval":
                        nursery.start_soon(self._decide, number, part.prefix)
                nursery.start_soon(self._poll, instance, number)
                steps.journal.put("R", str(number), data=await instance.result())

    async def _poll(self, instance: Any, number: int) -> None:
        """Asks for the state until it is a final one; twice then."""
        ended = 0
        while ended < 2:
            status = await instance.status()
            steps.journal.put("Q", str(number), data=[status.status.value, status.output])
            ended += status.status.is_final
            await self._way.sleep(self._random.random() * 0.05)

    async def _send(self, instance: Any, number: int, type: str, count: int) -> None:
        """Sends the events of one type, in order, each until it is acknowledged."""
        for index in range(count):
            if (number, type, index) in self._sent:
                continue
            await self._way.sleep(self._random.random() * 0.05)
            try:
                await instance.send_event(type, index, dedup_id=f"{type}:{index}")
            except InvalidState:
                return  # an earlier life sent it, and the instance has ended since
            steps.journal.put("E", str(number), type, index)

    async def _decide(self, number: int, name: str) -> None:
        """Approves and rejects, in either order: the first decision wins (E5)."""
        id = f"parent/{number}#{plans.place(name)}#1"
        ways = [("yes", self._engine.approvals.approve), ("no", self._engine.approvals.reject)]
        self._random.shuffle(ways)
        await self._way.sleep(self._random.random() * 0.05)
        for word, decide in ways:
            reason = os.urandom(4).hex()
            try:
                won = await decide(id, by="driver", reason=reason)
            except InvalidState:
                return
            steps.journal.put("A", str(number), name, [won, f"{word} {reason}"])
