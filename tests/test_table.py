"""The table of operations has every method of the public API, as it is, and nothing else."""

import inspect
import re

import pytest

import stepwell
from stepwell import Approvals, Bulks, Engine, Instance, Namespace, Schedule, aio, sync
from stepwell._engine.operation import KEYWORDS, Operation
from stepwell._engine.table import BY_NAME, OPERATIONS
from stepwell._steps import signatures

WHOSE = {"instance": Instance, "approvals": Approvals, "bulk": Bulks, "schedule": Schedule}
AS_OTHERS = re.compile(r"^ {4}StepwellError: As `", re.MULTILINE)
"""Where a docstring leaves to another one what else is raised."""
UNAUDITED = {
    "create", "create_batch", "call", "send_event", "request", "reshard", "drain", "backup",
}  # fmt: skip
"""What changes something and does not ask who does it."""


def methods(cls: type):
    return {
        name: member
        for name in dir(cls)
        if not name.startswith("_") and inspect.isfunction(member := getattr(cls, name))
    }


def rows(*of: str):
    return {it.method: it for it in OPERATIONS if it.of in of}


class Text(str):
    """An annotation, which is not shown as a string."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


def signature(method) -> str:
    whole = inspect.signature(method)
    _, *own = whole.parameters.values()
    written = str(
        whole.replace(
            parameters=[it.replace(annotation=Text(it.annotation)) for it in own],
            return_annotation=Text(whole.return_annotation),
        )
    )
    for here, there in (("Workflow[Any, Any]", "Workflow"), ("builtins.", ""), ("'", '"')):
        written = written.replace(here, there)
    return written


@pytest.mark.parametrize(
    ("cls", "of"),
    [
        (Engine, ("engine", "namespace")),
        (Namespace, ("namespace",)),
        *((cls, (of,)) for of, cls in WHOSE.items()),
    ],
    ids=lambda it: it.__name__ if isinstance(it, type) else "",
)
def test_every_public_method_is_a_row_and_every_row_a_method(cls, of):
    assert methods(cls).keys() == rows(*of).keys()
    for front in (aio, sync):
        assert methods(getattr(front, cls.__name__)).keys() == rows(*of).keys()


def method_of(operation):
    return getattr(WHOSE.get(operation.of, Engine), operation.method)


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda it: it.name)
def test_a_row_says_what_its_method_takes_and_gives(operation):
    assert operation.signature == signature(method_of(operation))


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda it: it.name)
def test_a_row_has_the_errors_of_its_method(operation):
    doc = inspect.getdoc(method_of(operation)) or ""
    named = set(re.findall(r"^ {4}([A-Z]\w+):", doc.partition("Raises:\n")[2], re.MULTILINE))
    named.discard("StepwellError")
    told = operation.errors.split()
    assert told == sorted(set(told))
    assert named <= set(told)
    assert "EngineClosed" in told
    for name in told:
        assert issubclass(getattr(stepwell, name), stepwell.StepwellError)
    if named and not AS_OTHERS.search(doc):
        assert set(told) - named <= {"EngineClosed", "NotSerializable", "TooLarge"}


def test_names_are_those_that_messages_use():
    assert len(BY_NAME) == len(OPERATIONS)
    prefix = {
        "instance": "instance.",
        "approvals": "engine.approvals.",
        "bulk": "engine.bulk.",
        "schedule": "schedule.",
    }
    for it in OPERATIONS:
        assert it.name == prefix.get(it.of, "engine.") + it.method


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda it: it.name)
def test_what_changes_something_says_who_does_it_and_can_be_repeated(operation):
    asks_who = re.search(r"\b(actor|by): |Unpack\[(Bulk|Decide)Options\]", operation.signature)
    audited = operation.changes and operation.method not in UNAUDITED
    assert bool(asks_who) == audited
    assert (operation.again == "reads") == (not operation.changes)
    if operation.changes:
        assert operation.cost not in {"memory", "row", "page"}


def parameters(signature: str):
    row = Operation("engine.x", "engine", signature, "read", "viewer", "reads", "row", "")
    return row.parameters


@pytest.mark.parametrize("name", KEYWORDS)
def test_keywords_are_those_of_the_types(name):
    told = {it.name: it.type for it in parameters(KEYWORDS[name])}
    assert all(it.default == "None" for it in parameters(KEYWORDS[name]))
    types = {
        key: it.__forward_arg__ for key, it in getattr(signatures, name).__annotations__.items()
    }
    assert told == {key: it.replace('"', "'") for key, it in types.items()}


def test_parameters_are_told_one_by_one():
    several = parameters(
        "(workflow: Workflow | str, n: int = 5, *more: Status, id: str, "
        "**options: Unpack[LimitChanges]) -> None"
    )
    assert several[:4] == [
        ("workflow", "Workflow | str", None),
        ("n", "int", "5"),
        ("id", "str", None),
        ("more", "Status", None),
    ]
    assert [it.name for it in several[4:]] == list(stepwell.Limits._fields)
    assert BY_NAME["engine.count"].answer == "dict[Status, int]"


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda it: it.name)
def test_the_parameters_of_a_row_are_those_of_its_method(operation):
    of_method = [
        name
        for name, it in inspect.signature(method_of(operation)).parameters.items()
        if name != "self" and it.kind is not it.VAR_KEYWORD
    ]
    told = [it.name for it in operation.parameters]
    assert sorted(told[: len(of_method)]) == sorted(of_method)
