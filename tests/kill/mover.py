"""The mover: does to each moved instance what its fate says, one thing after the other, and notes
what it was told.

Like the driver it remembers nothing: what was acknowledged it does not do again, what was only
begun it does once more. That may come to nothing, because it is in force already. After each thing,
and when a life begins, it notes in which state the instance is.
"""

from pathlib import Path
from typing import Any

from stepwell import InstanceNotFound, InvalidState

from . import fates, journal, steps
from .fates import Verb
from .moved import relay, saga


class Mover:
    """What is done from outside in one life. Arguments are those of `Driver`."""

    def __init__(self, engine: Any, seed: int, path: Path, way: Any) -> None:
        self._engine = engine
        self._way = way
        self._seed = seed
        self._made: set[str] = set()
        self._done: dict[str, int] = {}
        self._begun: dict[str, str] = {}
        """The last thing that was begun with each."""
        for line in journal.read(path)[0]:
            if line.op == "m":
                self._done.setdefault(line.instance, 0)
            elif line.op == "M":
                self._made.add(line.instance)
            elif line.op == "v":
                self._begun[line.instance] = line.label
            elif line.op == "a":
                self._done[line.instance] += 1

    async def run(self, width: int, most: int) -> None:
        """Moves what has not come to its end, then new instances until there are `most`; at most
        `width` at once."""
        limit = self._way.limit(width)
        async with self._way.group() as group:
            for id in self._done:
                group.start_soon(self._serve, limit, id)
            for number in range(len(self._done), most):
                async with limit:  # there is room for one more
                    pass
                id = f"m{number}"
                steps.journal.put("m", id)
                self._done[id] = 0
                group.start_soon(self._serve, limit, id)
                await self._way.sleep(0.005)

    async def _serve(self, limit: Any, id: str) -> None:
        number = int(id[1:])
        fate = fates.fate(self._seed, number)
        moves = fate.moves[self._done[id] :]
        if not moves:
            return
        async with limit:
            try:
                instance = await self._instance(fate.kind, number, id)
            except InstanceNotFound:
                gone = moves[0].verb == "delete" and self._begun.get(id) == "delete"
                steps.journal.put(*(("a", id, "delete", "gone") if gone else _lost(id)))
                return
            if self._done[id]:
                await self._look(instance, id)
            for verb, after in moves:
                await self._way.sleep(after)
                if not await self._move(instance, id, verb):
                    return

    async def _instance(self, kind: str, number: int, id: str) -> Any:
        workflow = relay if kind == "relay" else saga
        if id in self._made:
            return await self._engine.get(workflow, id)
        params = [self._seed, number, *([1, []] if kind == "relay" else [])]
        instance = await self._engine.create(workflow, params, id=id, if_exists="return")
        steps.journal.put("M", id)
        return instance

    async def _move(self, instance: Any, id: str, verb: Verb) -> bool:
        """Does one thing; returns whether the instance is there after it."""
        steps.journal.put("v", id, verb)
        outcome = "done"
        try:
            await self._do(instance, verb)
        except InvalidState:
            outcome = "refused"
        except InstanceNotFound:
            if verb != "delete" or self._begun.get(id) != "delete":
                steps.journal.put(*_lost(id))
                return False
            outcome = "gone"
        steps.journal.put("a", id, verb, outcome)
        if verb == "delete":
            return False
        await self._look(instance, id)
        return True

    async def _do(self, instance: Any, verb: Verb) -> None:
        match verb:
            case "undo":
                await instance.terminate(undo=True)
            case "failed":
                await instance.restart(from_step="failed")
            case "ends":
                while not (status := (await instance.status()).status).is_final:
                    if status.value == "paused":  # its body failed before it stood still
                        await instance.resume()
                    await self._way.sleep(0.02)
            case _:
                await getattr(instance, verb)()

    async def _look(self, instance: Any, id: str) -> None:
        """Notes in which state it is, while nothing is being done to it."""
        status = await instance.status()
        undo = None if status.undo is None else status.undo.outcome
        steps.journal.put("l", id, status.status.value, undo)


def _lost(id: str) -> tuple[str, str, str, str]:
    return "X", id, "", "was acknowledged and is lost"
