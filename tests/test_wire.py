"""What goes over a socket is what a desk declares: each call, each answer, in both directions."""

import dataclasses
import inspect
from datetime import UTC, datetime

import pytest

from stepwell import (
    EngineClosed,
    ErrorInfo,
    Explanation,
    ExplanationCode,
    InstanceNotFound,
    InternalError,
    InvalidState,
    Overloaded,
    Status,
    StepRecord,
    StepRef,
    StepwellError,
)
from stepwell._engine.desk import By, Code, Desk, Ended, Found, Reached, Refused, Who
from stepwell._engine.table import OPERATIONS
from stepwell._engine.wire import CALLS, Garbled, form_of, packed_error, unpacked_error
from stepwell._errors import MisusedState
from stepwell._values.plain import dumps, loads

AT = datetime(2026, 5, 1, tzinfo=UTC)
LOCAL = {"check", "check_admits", "most_bytes", "value_bytes", "registry", "readers", "now"}
"""What a desk says without asking an engine."""


def test_every_call_of_a_desk_belongs_to_an_operation_and_none_else_goes_over_the_socket():
    declared = {
        name for name, it in vars(Desk).items() if inspect.isfunction(it) and name[0] != "_"
    }
    assert declared - LOCAL == CALLS.keys()
    assert {it for op in OPERATIONS for it in op.asks} == CALLS.keys()
    for op in OPERATIONS:
        assert bool(op.asks) == op.is_remote, op.name


def test_what_only_reads_changes_nothing_and_what_changes_has_a_call_that_does():
    for op in OPERATIONS:
        if op.is_remote:
            assert any(CALLS[it].changes for it in op.asks) == op.changes, op.name


def through(declared, value):
    """Returns a value as the other side has it."""
    form = form_of(declared)
    return form.unpack(loads(dumps(value if form.pack is None else form.pack(value))))


RECORD = StepRecord(
    "do", "a", None, 1, "", 2, "failed", AT, None, {"x": {1, 2}, 3: (4,)},
    ErrorInfo("shop.Declined", "no", "a", 2, "…"), StepRef("a"), None, "paid", ("paid",),
)  # fmt: skip
VALUES = [
    (Who, Who("a", "b", "c")),
    (Reached, Reached(7, None, Status.COMPLETE, b"\xf6")),
    (Found[Who], Found([Who("a", "b", "c")], (1, 2))),
    (list[StepRecord], [RECORD]),
    (frozenset[Status], frozenset({Status.RUNNING, Status.QUEUED})),
    (dict[Status, int], {Status.RUNNING: 1}),
    (
        Explanation,
        Explanation(ExplanationCode.QUEUED, "it is", AT, None, {"a": [1, {"b": AT}]}),
    ),
]


@pytest.mark.parametrize(("declared", "value"), VALUES, ids=[str(it[0])[:30] for it in VALUES])
def test_what_is_sent_comes_back_as_it_was(declared, value):
    told = through(declared, value)
    assert type(told) is type(value)
    if isinstance(value, list):  # a tuple among plain data is a list for good
        told = [dataclasses.replace(told[0], output=RECORD.output)]
    assert told == value


def test_an_error_comes_back_as_its_public_class_with_what_it_says():
    error = through(StepwellError, Overloaded("full", retry_after=1.5, limit="create_rate"))
    assert type(error) is Overloaded
    assert (str(error), error.retry_after, error.limit) == ("full", 1.5, "create_rate")
    misused = unpacked_error(packed_error(MisusedState("there", status=None)))
    assert type(misused) is InvalidState
    ended = through(Ended, Ended(1, 2, [Refused("a", InstanceNotFound("gone", id="a"))]))
    assert ended.refused[0].error.id == "a"
    assert type(unpacked_error(["", "boom", {}])) is InternalError


@pytest.mark.parametrize(
    "raw", [None, [], ["os.system", 1, {}], ["EngineClosed", "x", {"no": 1}], ["ValueError"], 7]
)
def test_no_error_is_made_but_the_public_ones(raw):
    with pytest.raises(Garbled):
        unpacked_error(raw)


@pytest.mark.parametrize(
    ("declared", "raw"),
    [
        (Who, ["a", "b"]),
        (Who, ["a", "b", 3]),
        (Who, {"namespace": "a"}),
        (int, True),
        (int, 1.0),
        (str | None, 5),
        (frozenset[Status], ["runing"]),
        (list[int], "12"),
        (tuple[str, ...], [1]),
        (By, [None, None, None]),
        (Code, None),
    ],
)
def test_what_has_another_type_is_refused(declared, raw):
    with pytest.raises(Garbled):
        form_of(declared).unpack(raw)


def test_a_call_with_too_few_arguments_is_refused_and_says_which_it_is():
    with pytest.raises(Garbled, match="find takes 2 arguments"):
        CALLS["find"].unpacked([["a", "b", "c"]])
    with pytest.raises(Garbled, match="find: who is no list of 3"):
        CALLS["find"].unpacked([["a", "b"], True])
    assert isinstance(through(StepwellError, EngineClosed("x")), EngineClosed)
