"""One row of the table of operations: what is to be known of an operation of the engine."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias

Of: TypeAlias = Literal["engine", "namespace", "instance", "approvals", "bulk", "schedule"]
"""Whose method it is; what a namespace has, the engine has too, for its own."""
Effect: TypeAlias = Literal["read", "safe", "reversible", "destructive"]
"""What it may do to what is there: nothing; add to it; what can be taken back; what cannot."""
Role: TypeAlias = Literal["viewer", "approver", "operator", "admin"]
"""The least that somebody has to be who asks for it, where there are roles."""
Again: TypeAlias = Literal["reads", "id", "dedup_id", "state", "first", "call"]
"""Why a repeat after a lost answer changes nothing more: it changes nothing at all; the id is taken
then; the event is known then; it is in that state then; the first decision holds; or by nothing but
the number of the call, which is kept with what it changed."""
Cost: TypeAlias = Literal["memory", "row", "page", "history", "commit", "many", "store", "waits"]
"""What it takes: nothing of the store; one row; a page that is bounded; all that is recorded of one
instance; one commit; many; as long as the store is large; or as long as what it waits for."""


KEYWORDS: dict[str, str] = {
    "DecideOptions": "(*, ids: Sequence[str] | None = None, "
    'status: Status | StatusName | Literal["all"] | Sequence[Status | StatusName] | None = None, '
    "version: str | None = None, attributes: Mapping[str, AttributeValue] | None = None, "
    "parent: str | tuple[str, str] | None = None, id_prefix: str | None = None, "
    "schedule: str | None = None, created_after: datetime | None = None, "
    "created_before: datetime | None = None, rate: float | None = None, "
    "frontier: int | None = None, note: str | None = None) -> None",
    "BulkOptions": "(*, reason: str | ReasonCount | None = None, actor: str | None = None, "
    "**options: Unpack[DecideOptions]) -> None",
    "LimitChanges": "(*, concurrency: int | None = None, queue_entries: int | None = None, "
    "create_rate: float | None = None, create_burst: int | None = None, "
    "steps: int | None = None, value_bytes: int | None = None, "
    "instance_bytes: int | None = None, recoveries: int | None = None, "
    "stream_bytes: int | None = None, stream_chunks: int | None = None, "
    "chunk_bytes: int | None = None) -> None",
}
"""What `**options` of several operations may hold."""


class Parameter(NamedTuple):
    """One parameter of an operation.

    Attributes:
        name: Its name.
        type: As it is written in the row.
        default: As it is written in the row; None: it has to be given.
    """

    name: str
    type: str
    default: str | None


@dataclass(frozen=True, slots=True)
class Operation:
    """One row.

    Attributes:
        name: As messages call it, such as "engine.create" or "instance.pause".
        of: Whose it is.
        signature: Its parameters and its answer, typed, without `self`.
        effect: What it may do.
        role: Who may ask for it.
        again: Why it may be repeated.
        cost: What it takes.
        errors: What it raises, by name, sorted.
        asked: The calls of a desk that it is made of, by name.
        is_remote: Whether other processes can ask for it.
    """

    name: str
    of: Of
    signature: str
    effect: Effect
    role: Role
    again: Again
    cost: Cost
    errors: str
    asked: str = ""
    is_remote: bool = True

    @property
    def method(self) -> str:
        """Name of the method."""
        return self.name.rpartition(".")[2]

    @property
    def asks(self) -> list[str]:
        """The calls of a desk that it is made of."""
        return self.asked.split()

    @property
    def changes(self) -> bool:
        """Whether it may change anything."""
        return self.effect != "read"

    @property
    def parameters(self) -> list[Parameter]:
        """Its parameters one by one, those of `**options` too."""
        return list(_parameters(self.signature))

    @property
    def answer(self) -> str:
        """The type of its answer, as it is written in the row."""
        return self.signature.rpartition(" -> ")[2]


def _parameters(signature: str) -> Iterator[Parameter]:
    import ast  # only what is made from the rows asks for them one by one

    [made] = ast.parse(f"def made{signature}: ...").body
    assert isinstance(made, ast.FunctionDef)
    given = made.args
    rest: list[ast.expr | None] = [None] * (len(given.args) - len(given.defaults))
    for it, default in (
        *zip(given.args, [*rest, *given.defaults], strict=True),
        *zip(given.kwonlyargs, given.kw_defaults, strict=True),
    ):
        assert it.annotation is not None, f"{it.arg} has no type"
        yield Parameter(
            it.arg, ast.unparse(it.annotation), None if default is None else ast.unparse(default)
        )
    if given.vararg is not None and given.vararg.annotation is not None:
        yield Parameter(given.vararg.arg, ast.unparse(given.vararg.annotation), None)
    if given.kwarg is not None and given.kwarg.annotation is not None:
        of = ast.unparse(given.kwarg.annotation).removeprefix("Unpack[").removesuffix("]")
        yield from _parameters(KEYWORDS[of])
