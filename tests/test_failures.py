"""Recorded failures: caught as what the step raised, equal live and on replay, and no code of the
class runs."""

import contextlib
import copy
import functools
import logging
import pickle
import sys
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepwell import (
    EventTimeout,
    InstanceNotFound,
    NonRetryableError,
    NotSerializable,
    Retry,
    StepFailed,
    StepTimeout,
    StepwellError,
    TooLarge,
    workflow,
)
from stepwell._values import failures
from stepwell._values.codec import Codec
from stepwell._values.failures import describe, describe_body, error_info, from_users_code, revive
from stepwell.testing import open_test_engine

codec = Codec()


class PaymentDeclined(Exception):
    retry_in: int

    def __init__(self, reason: str, *, code: int) -> None:
        super().__init__(reason)
        self.code = code
        self.handle = object()
        self.pair = (1, 2)


class CardExpired(PaymentDeclined):
    pass


def forbidden(*_: Any, **__: Any) -> Any:
    raise AssertionError("code of the class ran")


class Jealous(Exception):
    __slots__ = ("slot",)
    armed = False

    def __new__(cls, *args: Any) -> "Jealous":
        return forbidden() if cls.armed else super().__new__(cls)

    def __init_subclass__(cls) -> None:
        forbidden()

    def __setattr__(self, name: str, value: Any) -> None:
        if self.armed:
            forbidden()
        super().__setattr__(name, value)

    def __init__(self) -> None:
        if self.armed:
            forbidden()


class Outer:
    class Inner(ValueError):
        pass


class Rude(Exception):
    def __str__(self) -> str:
        raise KeyboardInterrupt

    __repr__ = __str__


def raised(exc: BaseException) -> BaseException:
    try:
        raise exc
    except BaseException as caught:
        return caught


def stored(exc: BaseException, step: str = "fetch", attempts: int = 3) -> StepFailed:
    record = describe(raised(exc), step=step, attempts=attempts)
    replayed = codec.decode(codec.encode(record))
    assert replayed == record
    return revive(replayed)


def test_the_class_the_step_raised_is_caught() -> None:
    error = stored(CardExpired("card expired", code=5))
    assert isinstance(error, CardExpired)
    assert isinstance(error, PaymentDeclined)
    assert isinstance(error, StepFailed)
    assert type(error).__name__ == "CardExpired"
    assert str(error) == 'step "fetch" failed after 3 attempts: CardExpired: card expired'
    assert (error.step, error.attempts, error.type, error.message) == (
        "fetch",
        3,
        "test_failures.CardExpired",
        "card expired",
    )
    assert error.args == ("card expired",)
    assert "raise exc\ntest_failures.CardExpired: card expired" in error.traceback


def test_d3_live_and_replayed_are_equal_in_class_text_and_fields() -> None:
    record = describe(raised(PaymentDeclined("no", code=5)), step="charge", attempts=1)
    live, replayed = revive(record), revive(codec.decode(codec.encode(record)))
    assert type(live) is type(replayed)
    assert str(live) == str(replayed)
    assert vars(live) == vars(replayed)
    assert live.args == replayed.args


def test_members_that_can_be_stored_come_along_and_others_say_so() -> None:
    error: Any = stored(PaymentDeclined("no", code=5))
    assert error.code == 5
    assert error.pair == [1, 2]
    for name in ("handle", "retry_in"):
        with pytest.raises(
            AttributeError,
            match=f'PaymentDeclined of step "fetch": attribute "{name}" was not recorded',
        ):
            getattr(error, name)
    assert getattr(error, "handle", None) is None


def test_members_have_8_kib_together() -> None:
    error = PaymentDeclined("no", code=5)
    vars(error).update({f"m{n}": "x" * 3000 for n in range(4)} | {"small": 1})
    record = describe(error, step="s", attempts=1)
    assert set(record["fields"]) == {"code", "pair", "m0", "m1", "small"}
    assert len(codec.encode(record["fields"])) <= 8192


def test_members_of_builtin_classes_come_along() -> None:
    error = stored(FileNotFoundError(2, "No such file", "a.txt"))
    assert isinstance(error, FileNotFoundError)
    assert (error.errno, error.strerror, error.filename) == (2, "No such file", "a.txt")
    assert error.type == "FileNotFoundError"
    assert str(error) == (
        "step \"fetch\" failed after 3 attempts: FileNotFoundError: [Errno 2] No such file: 'a.txt'"
    )
    broken: Any = stored(UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad"))
    assert (broken.object, broken.start, broken.reason) == (b"\xff", 0, "bad")
    key = stored(KeyError("k"))
    assert isinstance(key, KeyError)
    assert key.args == ("k",)


def test_no_code_of_the_class_runs() -> None:
    record = describe(Jealous(), step="s", attempts=1)
    Jealous.armed = True
    try:
        assert isinstance(revive(record), Jealous)
    finally:
        Jealous.armed = False


def test_nothing_is_imported_and_only_exceptions_are_found(
    caplog: pytest.LogCaptureFixture,
) -> None:
    sys.modules.pop("this", None)
    sys.modules.pop("antigravity", None)
    names = [
        ("antigravity", "fly"), ("os", "system"), ("os", "_Environ"), ("builtins", "eval"),
        ("builtins", "KeyboardInterrupt"), ("builtins", "int"),
        ("", ""), ("test_failures", "Outer"), ("test_failures", "Outer.Missing"),
        ("test_failures", "Outer.__class__"), ("stepwell", "Codec"),
        ("builtins", "SystemExit"), ("builtins", "GeneratorExit"),
    ]  # fmt: skip
    for module, name in names:
        error = revive(
            {"module": module, "class": name, "message": "m", "step": "s", "attempts": 1}
        )
        assert type(error) is StepFailed
        assert error.message == "m"
    assert "antigravity" not in sys.modules
    assert isinstance(stored(Outer.Inner("x")), Outer.Inner)


def make_local() -> Exception:
    class Local(Exception):
        pass

    return Local("x")


@pytest.mark.parametrize(
    ("exc", "cure"),
    [
        (make_local(), "define it at module level"),
        (StopIteration("x"), "raise an exception class of your own"),
        (StopAsyncIteration("x"), "raise an exception class of your own"),
        (GeneratorExit("x"), "raise an exception class of your own"),
        (ExceptionGroup("x", [ValueError("a")]), "raise an exception class of your own"),
    ],
)
def test_what_cannot_be_combined_is_plain_with_one_warning(
    exc: BaseException, cure: str, caplog: pytest.LogCaptureFixture
) -> None:
    failures._warned.clear()
    with caplog.at_level(logging.WARNING, "stepwell"):
        for _ in range(3):
            assert type(stored(exc)) is StepFailed
    assert len(caplog.records) == 1
    assert type(exc).__qualname__ in caplog.text
    assert cure in caplog.text
    assert stored(exc).type.endswith(type(exc).__qualname__)


def test_our_own_errors_are_step_failures_too() -> None:
    for exc in (
        NotSerializable("x", path="result[0]"),
        TooLarge("x", limit=5),
        NonRetryableError("x"),
        InstanceNotFound("x", id="i"),
    ):
        error = stored(exc)
        assert isinstance(error, type(exc))
        assert isinstance(error, StepFailed)
        assert error.type == f"stepwell.{type(exc).__name__}"
    assert stored(NotSerializable("x", path="result[0]")).path == "result[0]"
    timeout = stored(StepTimeout("no answer within 10 minutes"))
    assert type(timeout) is StepTimeout
    assert isinstance(timeout, TimeoutError)
    assert str(timeout) == (
        'step "fetch" failed after 3 attempts: StepTimeout: no answer within 10 minutes'
    )


def test_a_failure_raised_again_by_another_step_keeps_its_class() -> None:
    once = stored(PaymentDeclined("no", code=5))
    twice = stored(once, step="outer", attempts=1)
    assert type(twice) is type(once)
    assert str(twice) == 'step "outer" failed after 1 attempt: PaymentDeclined: no'
    assert twice.code == 5


def test_causes_and_notes_are_in_the_traceback() -> None:
    try:
        try:
            raise KeyError("first")
        except KeyError as cause:
            error = ValueError("second")
            error.add_note("see the manual")
            raise error from cause
    except ValueError as exc:
        text = revive(describe(exc, step="s", attempts=1)).traceback
    assert "KeyError: 'first'" in text
    assert "see the manual" in text
    assert "direct cause" in text


@pytest.mark.parametrize(
    "exc",
    [
        Rude(),
        ExceptionGroup("g", [Rude()]),
        ValueError("\udcff"),
        ValueError("x" * 10**6),
        ValueError(object()),
    ],
)
def test_describing_never_raises_and_is_always_storable(exc: BaseException) -> None:
    for record in (describe(exc, step="s", attempts=1), describe_body(exc)):
        assert len(codec.encode(record)) < 200_000
        assert codec.decode(codec.encode(record)) == record
    assert isinstance(revive(describe(exc, step="s", attempts=1)), StepFailed)


@given(
    st.text(),
    st.lists(st.integers() | st.text() | st.floats(allow_nan=False)),
    st.dictionaries(st.text(min_size=1), st.integers() | st.text()),
)
def test_any_text_args_and_fields_survive(
    text: str, args: list[Any], fields: dict[str, Any]
) -> None:
    exc = ValueError(text, *args)
    vars(exc).update(fields)
    record = describe(exc, step="s", attempts=1)
    assert vars(revive(codec.decode(codec.encode(record)))) == vars(revive(record))


def test_an_exception_with_an_unstorable_name_for_a_member_is_described() -> None:
    exc = ValueError("x")
    vars(exc)["\udcff"] = 1
    assert codec.encode(describe(exc, step="s", attempts=1))


def test_error_info_is_data() -> None:
    info = error_info(describe(raised(PaymentDeclined("no", code=1)), step="charge", attempts=2))
    assert (info.type, info.message, info.step, info.attempts) == (
        "test_failures.PaymentDeclined",
        "no",
        "charge",
        2,
    )
    assert "PaymentDeclined: no" in info.traceback


def test_i11_the_tree_of_a_group_is_recorded() -> None:
    failed = stored(PaymentDeclined("no", code=5), step="charge")
    record = describe_body(
        ExceptionGroup("nursery", [failed, ExceptionGroup("inner", [KeyError("k")])])
    )
    assert error_info(record).message == (
        "nursery (2 sub-exceptions)\n"
        '  step "charge" failed after 3 attempts: PaymentDeclined: no\n'
        "  ExceptionGroup: inner (1 sub-exception)\n"
        "    KeyError: 'k'"
    )
    assert record["errors"][1] == [
        "ExceptionGroup",
        "inner (1 sub-exception)",
        [["KeyError", "'k'", []]],
    ]
    assert error_info(record).step is None


def test_a_step_failure_the_body_did_not_catch_keeps_step_and_attempts() -> None:
    info = error_info(describe_body(raised(stored(PaymentDeclined("no", code=5), step="charge"))))
    assert (info.step, info.attempts, info.type, info.message) == (
        "charge",
        3,
        "test_failures.PaymentDeclined",
        "no",
    )
    assert str(info) == 'step "charge" failed after 3 attempts: PaymentDeclined: no'
    assert error_info(describe_body(ValueError("x"))).step is None


@dataclass
class DataError(Exception):
    code: int
    detail: str = "none"


def test_a_dataclass_exception_comes_back_with_its_fields() -> None:
    error = stored(DataError(4))
    assert isinstance(error, DataError)
    assert (error.code, error.detail) == (4, "none")
    assert str(error).startswith('step "fetch" failed')


class Odd(Exception):
    """Has, or does, under every name what a failure's own text and attributes must not meet."""

    __slots__ = ("step", "traceback")

    def __init__(self) -> None:
        super().__init__("bad")
        self.code = 7

    @property
    def type(self) -> str:
        return forbidden()  # type: ignore[no-any-return]

    @functools.cached_property
    def message(self) -> str:
        return forbidden()  # type: ignore[no-any-return]

    @property
    def attempts(self) -> int:
        return forbidden()  # type: ignore[no-any-return]

    @attempts.setter
    def attempts(self, value: int) -> None:
        forbidden()

    def __repr__(self) -> str:
        return forbidden()  # type: ignore[no-any-return]

    __str__ = __repr__


class Guarded(Exception):
    armed = False

    def __getattribute__(self, name: str) -> Any:
        return forbidden() if Guarded.armed else super().__getattribute__(name)

    __setattr__ = __delattr__ = forbidden


@pytest.mark.parametrize("cls", [Odd, Guarded])
def test_a_failure_has_its_own_text_and_attributes_whatever_the_class_has_under_their_names(
    cls: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    record = describe(raised(cls()), step="fetch", attempts=3)
    monkeypatch.setattr(Guarded, "armed", True)
    error = revive(record)
    assert isinstance(error, cls)
    assert (error.step, error.attempts, error.type) == ("fetch", 3, f"test_failures.{cls.__name__}")
    assert str(error).startswith(f'step "fetch" failed after 3 attempts: {cls.__name__}')
    assert cls.__name__ in repr(error)
    assert isinstance(error.message, str)
    assert isinstance(error.traceback, str)
    for again in (
        error_info(describe_body(raised(error))),
        copy.copy(error),
        pickle.loads(pickle.dumps(StepFailed("x", step="fetch"))),
    ):
        assert again.step == "fetch"
    assert str(error) in "".join(traceback.format_exception(error))


@dataclass(frozen=True)
class Frozen(Exception):
    code: int


@contextlib.contextmanager
def context() -> Iterator[None]:
    yield


def test_a_failure_of_a_frozen_class_can_be_raised_noted_and_copied() -> None:
    error = stored(Frozen(7))
    with pytest.raises(Frozen) as caught, context():  # sets its traceback on the way out
        raise error
    caught.value.add_note("seen")
    error.code = 8  # type: ignore[misc]  # what came back is data
    assert (copy.copy(error).code, error.__notes__) == (8, ["seen"])


def a_group() -> Exception:
    return ExceptionGroup(
        "two", [ValueError("a"), ExceptionGroup("in", [KeyError("k"), stored(DataError(4))])]
    )


def a_validation_error() -> Exception:
    class Model(pydantic.BaseModel):
        a: int

    try:
        Model(a="x")  # type: ignore[arg-type]
    except pydantic.ValidationError as error:
        return error
    raise AssertionError


@pytest.mark.parametrize(
    ("make", "type_", "says"),
    [
        (
            a_group,
            "ExceptionGroup",
            [
                "two",
                "ValueError: a",
                "KeyError: 'k'",
                'step "fetch" failed after 3 attempts: DataError: 4',
            ],
        ),
        (
            a_validation_error,
            "pydantic_core._pydantic_core.ValidationError",
            ["1 validation error for Model", "valid integer"],
        ),
        (make_local, "test_failures.make_local.<locals>.Local", ["x"]),
        (lambda: StopIteration("no more"), "StopIteration", ["no more"]),
    ],
)
def test_a_failure_told_as_plain_step_failed_has_type_and_members_wherever_it_is_told(
    make: Any, type_: str, says: list[str]
) -> None:
    error = stored(make())
    assert type(error) is StepFailed
    again = stored(error, step="outer", attempts=1)
    assert type(again) is StepFailed
    infos = [error_info(describe_body(raised(it))) for it in (error, again)]
    tree = error_info(describe_body(ExceptionGroup("nursery", [error])))
    for told in (error, again, *infos):
        assert told.type == type_
        assert all(text in told.message for text in says)
        assert type_.rpartition(".")[2] in str(told)
    assert type_.rpartition(".")[2] in tree.message


def test_a_memory_error_is_caught_as_itself() -> None:
    error = stored(MemoryError("all of it"))
    assert isinstance(error, MemoryError)
    assert (error.type, error.message) == ("MemoryError", "all of it")
    with pytest.raises(MemoryError):
        raise error


def declines() -> None:
    raise Frozen(7)


def stops() -> None:
    next(iter(()))


async def declines_later() -> None:
    raise Frozen(7)


@pytest.mark.parametrize(
    ("fn", "wanted"),
    [
        (declines, "test_failures.Frozen"),
        (declines_later, "test_failures.Frozen"),
        (stops, "StopIteration"),
    ],
)
@pytest.mark.parametrize("method", ["do", "map"])
@pytest.mark.parametrize("runtime", ["trio", "asyncio"])
async def test_a_step_fails_with_what_its_function_raised(
    fn: Any, wanted: str, method: str, runtime: str
) -> None:
    @workflow(name="w")
    async def w(step: Any) -> Any:
        try:
            if method == "do":
                await step.do(fn, retry=Retry.never, runtime=runtime)
            else:
                await step.map(lambda _: fn(), [1], name="m", retry=Retry.never, runtime=runtime)
        except StepFailed as error:
            return [error.type, isinstance(error, Frozen)]

    async with open_test_engine(workflows=[w]) as engine:
        assert await engine.call(w) == [wanted, fn is not stops]


async def declines() -> None:
    raise PaymentDeclined("no", code=1)


@workflow
async def asks_a_bad_rule(step) -> list:
    try:
        await step.do(declines, retry=Retry(delay=lambda *_: "soon"))
    except StepFailed as error:
        return [error.type, isinstance(error, StepwellError), error.message]


async def test_r6_what_is_not_public_is_recorded_as_what_is():
    async with open_test_engine(workflows=[asks_a_bad_rule]) as engine:
        kind, is_ours, text = await engine.call(asks_a_bad_rule)
    assert (kind, is_ours) == ("stepwell.StepwellError", True)
    assert text.startswith("the delay function of Retry returned nonsense: its result='soon'")


@pytest.mark.parametrize("name", ["RetryRuleFailed", "NoThread"])
def test_d9_names_that_were_recorded_before_are_there(name):
    record = {"module": "stepwell._retry", "class": name, "message": "m", "found": True}
    assert type(revive(record)).__name__ == name


@workflow
async def collects(step) -> list:
    async def one(what: str) -> str:
        if what == "waits":
            await step.wait_for_event("never", timeout="1 hour")
        return await step.do(declines, retry=Retry.never)

    try:
        return await step.each(one, ["fails", "waits", "fails"], on_error="collect")
    except EventTimeout as error:
        (alone,) = await step.each(one, ["fails"], on_error="collect")
        return [type(error).__name__, type(alone).__name__]


async def test_i11_each_collects_failures_of_steps_and_raises_all_else():
    async with open_test_engine(workflows=[collects]) as engine:
        assert await engine.call(collects) == ["EventTimeout", "PaymentDeclined"]


async def test_a_failure_that_is_ours_alone_keeps_its_frames():
    with pytest.raises(ValueError, match="nonsense") as raised:
        Retry(delay="nonsense")
    error = raised.value
    error.__traceback__ = error.__traceback__.tb_next  # nothing of the user's is left
    assert from_users_code(error)[2] is error.__traceback__ is not None
