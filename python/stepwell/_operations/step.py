"""`Step`: what a workflow body can ask for.

Every method checks its arguments at the call (`calls`) and names its operation by the branch that
calls it; what then happens is in `do` and its like. The object itself holds nothing but the way to
its instance. Most of its methods stand by what they are for: `asking_for_steps`, `asking_to_wait`,
`asking_others`; here are those that are about the instance itself.
"""

from __future__ import annotations

import logging
import uuid
from datetime import datetime
from typing import TYPE_CHECKING, Any, NoReturn

from .. import _core
from .._body.body_log import BodyLog
from .._body.pending import Pending
from .._body.progress import report
from .._steps.params import encode_params
from .._types import InstanceInfo
from .._values import names
from .._values.durations import from_us
from . import continuing, patches, recalled
from .asking_for_steps import AskingForSteps
from .asking_others import AskingOthers
from .asking_to_wait import AskingToWait
from .attributes import change_attributes, recall_attributes, wanted
from .calls import info
from .streams import BodyStream

if TYPE_CHECKING:
    import random

    from .._body.life import Life


class Step(AskingForSteps, AskingToWait, AskingOthers):
    """The durable primitives of one instance. The first argument of every workflow body.

    Outside that body (in a step function, another thread, after it has ended) every method raises
    `StepwellError` and says what to do.
    """

    __slots__ = ()

    def __init__(self, life: Life) -> None:
        super().__init__(life)
        if life.delivery.cursor.changes is not None:
            recall_attributes(life)

    # Changes of the code, and of what it is listed by.

    def patched(self, change_id: str) -> Pending[bool]:
        """Says whether this instance runs the code that a change brought, or the code from before
        it.

        Decided when the body first comes here: True unless it is replaying outcomes that were
        recorded before; then it answers the same for ever, wherever in the body it is asked. Write
        `if await step.patched("id"): … else: …` with the old code in the `else`, and remove both
        once no instance from before is left.

        Args:
            change_id: Names the change; 1 to 256 characters.

        Raises:
            InvalidName: The id is malformed.
        """
        branch = self._branch("patched")
        return Pending(patches.ask, (branch, names.step_name(change_id, "change_id")))

    def set_attributes(
        self, attributes: dict[str, str | int | float | bool | None]
    ) -> Pending[None]:
        """Changes the attributes that this instance is listed by: these are set, and those that are
        None removed; the others stay.

        Returns when that is durable. It is an operation like any other: a replay passes it and
        changes nothing. `step.instance.attributes` has the change from then on.

        Args:
            attributes: As `Engine.create`, or None to remove one.

        Raises:
            InvalidConfig: They are malformed; or with those that are there they would be more than
                32, or more than 4 KiB together: nothing is changed then.
        """
        branch = self._branch("set_attributes")
        return Pending(change_attributes, (branch, wanted(attributes)))

    def stream(self, name: str) -> BodyStream:
        """Sends chunks in a stream of this instance, for readers beside it (`engine.stream`):
        `async with step.stream("answer") as out: await out.send(chunk)`.

        The block is recorded, what is sent in it is not: it lies in the stream, and a replay sends
        nothing twice. Nothing is waited for; readers are told what is durable. The stream belongs
        to this run of the instance, and goes with its end by deletion, restart or
        `continue_as_new`. In the function of a step it is `current_step().stream(name)`.

        Args:
            name: 1 to 256 characters.

        Raises:
            InvalidName: The name is malformed.
            InvalidState: On entering: another task of the body sends in it.
        """
        return BodyStream(self._branch("stream"), names.step_name(name))

    def continue_as_new(self, params: Any = None) -> Pending[NoReturn]:
        """Ends this history, and begins a fresh one under the same id, with other params: so an
        instance may go on for years and stays small.

        Never returns. The body is unwound, past every `except Exception`; open branches are
        cancelled, and their attempts end first, threads too. Then, in one commit, the new run is
        there. It has the attributes, the events that were not taken yet, what was answered, the
        priority, the retention and the version of the one before; children that were created live
        on. Children that were called and have not ended are terminated; they keep their ids, so
        what has an `id` of its own needs another one in each run. A request that was taken and not
        answered is answered by nobody any more. Undos are forgotten, steps count anew, and
        `idempotency_key`, `uuid()` and `random` are others. The time limit of the workflow
        (`timeout=`) is that of the instance, and goes on.

        `history()` shows the present run. It begins with a line of kind "continue_as_new", whose
        count is the number of the run, from 2, and whose time is what `now()` is in its first turn.

        Args:
            params: What the new run starts with, as of `Engine.create`: those that are left out are
                the default that the workflow's function has.

        Raises:
            InvalidConfig: The workflow takes no params, and some were given; or a step was asked
                for and never awaited.
            NotSerializable: They cannot be stored.
            TooLarge: They are over the limit for one value.
        """
        branch, life = self._branch("continue_as_new"), self._life
        stored, refusal = recalled.encoded(
            branch,
            _core.CONTINUED,
            continuing.NAME,
            lambda: encode_params(
                life.who.workflow, params, life.port.most_bytes(life.value_bytes)
            ),
        )
        return Pending(continuing.continue_as_new, (branch, continuing.NAME, stored, refusal))

    # What replays without being stored.

    def now(self) -> datetime:
        """Returns the time of the outcome that this turn delivers: the same on every replay.

        In the first turn, which has no outcome, that is when the instance was created, although it
        may start later: at its `start_at`, or when there is a slot. Where the present is meant, let
        a step return it. Deadlines count from when the body runs there.
        """
        self._branch("now")
        return from_us(self._life.delivery.at)

    def uuid(self) -> uuid.UUID:
        """Returns the next of this branch's UUIDs: the same on every replay."""
        return self._branch("uuid").uuid()

    @property
    def random(self) -> random.Random:
        """This branch's generator: the same numbers on every replay."""
        return self._branch("random").random

    @property
    def instance(self) -> InstanceInfo:
        """What is known about this instance."""
        return info(self._life)

    @property
    def log(self) -> logging.LoggerAdapter[logging.Logger]:
        """Logs to "stepwell.workflow"; silent on replay, carries the instance id."""
        return BodyLog(self._life)

    def report(self, progress: Any = None, message: str | None = None, **fields: Any) -> None:
        """Tells watchers how far the instance is; the last report is kept, none is repeated on
        replay.

        Args:
            progress: Any storable value, by habit a number from 0 to 1.
            message: One line for a person.
            fields: More storable values.

        Raises:
            NotSerializable: A value cannot be stored.
            TooLarge: All of it is over 64 KiB encoded.
        """
        self._branch("report")
        report(self._life, progress, message, fields)
