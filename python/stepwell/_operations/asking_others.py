"""The methods of `Step` that have to do with other instances: children, and receivers of events.

Each checks its arguments at the call, and hands what it was asked for to the operation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar, Unpack, overload

from .. import _core
from .._body.pending import Pending
from .._steps.params import encode_params
from .._steps.signatures import ChildOptions, Given, NewChildOptions
from .._steps.workflow import Workflow
from .._types import NewInstance
from .._values import names
from .._values.codec import codec
from . import child
from .asking import Asking
from .child import Child

P = TypeVar("P")
R = TypeVar("R")


class AskingOthers(Asking):
    """Creates and calls children, and sends events."""

    __slots__ = ()

    @overload
    def create(
        self, workflow: Workflow[None, R], params: None = None, **options: Unpack[NewChildOptions]
    ) -> Pending[Child[R]]: ...
    @overload
    def create(
        self, workflow: Workflow[P, R], params: Given[P], **options: Unpack[NewChildOptions]
    ) -> Pending[Child[R]]: ...
    @overload
    def create(
        self, workflow: str, params: Any = None, **options: Unpack[NewChildOptions]
    ) -> Pending[Child[Any]]: ...
    def create(
        self, workflow: Workflow[Any, Any] | str, params: Any = None, *, id: str | None = None,
        name: str | None = None,
        attributes: Mapping[str, Any] | None = None,
    ) -> Pending[Child[Any]]:  # fmt: skip
        """Creates exactly one child, however often this body replays. It lives on when this
        instance ends.

        Args:
            workflow: A registered workflow, or its name.
            params: What it starts with.
            id: Default: derived from this operation.
            name: Default: the workflow's name.
            attributes: As `Engine.create`.

        Raises:
            InstanceExists: The id is taken.
            NotSerializable: The params cannot be stored.
            TooLarge: They are over the limit for one value.
            InvalidName: The id is malformed.
            InvalidConfig: The workflow is not registered, or the attributes are malformed.
        """
        branch = self._branch("create")

        def encode(target: Workflow[Any, Any]) -> tuple[bytes | None, bytes | None]:
            limit = child.value_bytes_of(self._life, target.name)
            stored = encode_params(target, params, limit)
            return stored, codec.encode(names.attributes(attributes)) if attributes else None

        label, target, given, refusal = child.asked(branch, _core.CREATE, workflow, name, encode)
        child_id = None if id is None else names.instance_id(id)
        return Pending(child.create, (branch, label, target, given, refusal, child_id))

    @overload
    def create_batch(
        self,
        workflow: Workflow[P, R],
        items: Sequence[Given[P] | NewInstance[P]],
        *,
        name: str | None = None,
    ) -> Pending[list[Child[R]]]: ...
    @overload
    def create_batch(
        self, workflow: str, items: Sequence[Any], *, name: str | None = None
    ) -> Pending[list[Child[Any]]]: ...
    def create_batch(
        self, workflow: Workflow[Any, Any] | str, items: Sequence[Any], *, name: str | None = None
    ) -> Pending[list[Child[Any]]]:
        """Creates thousands of children as one record: all of them or none.

        Args:
            workflow: A registered workflow, or its name.
            items: 1 to 10,000 params, or `NewInstance`s (its params, id and attributes are used).
            name: Default: the workflow's name.

        Raises:
            InstanceExists: One of the ids is taken, or given twice.
            InvalidConfig: Too few or too many items.
            NotSerializable: Some params cannot be stored; the text says which item.
            TooLarge: Some are over the limit for one value.
        """
        branch = self._branch("create_batch")

        def encode(
            target: Workflow[Any, Any],
        ) -> list[tuple[str | None, bytes | None, bytes | None]]:
            names.check_batch(items)
            return [child.item(self._life, target, item, index) for index, item in enumerate(items)]

        label, target, prepared, refusal = child.asked(
            branch, _core.CREATE_BATCH, workflow, name, encode
        )
        return Pending(child.create_batch, (branch, label, target, items, prepared, refusal))

    @overload
    def call(
        self, workflow: Workflow[None, R], params: None = None, **options: Unpack[ChildOptions]
    ) -> Pending[R]: ...
    @overload
    def call(
        self, workflow: Workflow[P, R], params: Given[P], **options: Unpack[ChildOptions]
    ) -> Pending[R]: ...
    @overload
    def call(
        self, workflow: str, params: Any = None, **options: Unpack[ChildOptions]
    ) -> Pending[Any]: ...
    def call(
        self,
        workflow: Workflow[Any, Any] | str,
        params: Any = None,
        *,
        id: str | None = None,
        name: str | None = None,
    ) -> Pending[Any]:
        """Creates a child and waits for its output, without a slot. It is terminated with this
        instance.

        Args:
            workflow: A registered workflow, or its name.
            params: What it starts with.
            id: Default: derived from this operation.
            name: Default: the workflow's name.

        Raises:
            InstanceErrored: The child errored.
            InstanceTerminated: It was terminated.
            InstanceExists: The id is taken.
            NotSerializable: The params cannot be stored.
            TooLarge: They are over the limit for one value.
        """
        branch = self._branch("call")
        label, target, stored, refusal = child.asked(
            branch,
            _core.CALL,
            workflow,
            name,
            lambda target: encode_params(
                target, params, child.value_bytes_of(self._life, target.name)
            ),
        )
        child_id = None if id is None else names.instance_id(id)
        return Pending(child.call, (branch, label, target, stored, refusal, child_id))

    def send_event(
        self,
        workflow: Workflow[Any, Any] | str,
        id: str,
        type: str,
        payload: Any = None,
        *,
        name: str | None = None,
    ) -> Pending[None]:
        """Sends an event to another instance of this namespace, once however often this body
        replays.

        Args:
            workflow: Workflow of the receiver, or its name.
            id: Its id.
            type: The event's type.
            payload: Storable data.
            name: Default: the type.

        Raises:
            InstanceNotFound: There is no such instance.
            InvalidState: It is final.
            LimitReached: It has 1,000 events that no wait took yet, and no wait is open that takes
                this one.
            NotSerializable: The payload cannot be stored.
            TooLarge: It is over the limit for one value.
        """
        branch = self._branch("send_event")
        target = (
            workflow.name
            if isinstance(workflow, Workflow)
            else names.workflow_name(workflow, "the receiver's workflow")
        )
        return child.send_event(branch, target, id, type, payload, name)
