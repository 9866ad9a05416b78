"""Every decoder on Python's side against damaged and hostile input.

An input is a valid encoding changed in a few places (bits, bytes, lengths, pieces cut out, doubled,
swapped in from another), or noise. It is refused with the documented error, in bounded words, or it
is a value, and then writing that value and reading it again changes nothing. `STEPWELL_FUZZ` says
how many inputs, `STEPWELL_SEED` which; one that fails is printed as hex with the command that tries
it alone.
"""

import enum
import logging
import math
import os
import random
import sys
import time
import tracemalloc
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any, Literal, NamedTuple, TypedDict

import pytest

from stepwell import InvalidConfig, InvalidName, NotSerializable, StepFailed
from stepwell._values import failures, names
from stepwell._values.codec import Undecodable, codec
from stepwell._values.durations import DURATION_MAX_US, to_us
from stepwell._values.failures import describe, describe_body, error_info, revive

INPUTS = int(os.environ.get("STEPWELL_FUZZ", "20000"))
SEED = int(os.environ.get("STEPWELL_SEED", "1"))
MESSAGE_MAX = 1_000

TAGS = [
    bytes([0xD9]) + tag.to_bytes(2, "big")
    for tag in (
        0,
        1,
        2,
        4,
        5,
        25,
        28,
        29,
        30,
        35,
        36,
        37,
        52,
        54,
        100,
        256,
        258,
        260,
        261,
        1004,
        43000,
        49495,
    )
]
LENGTHS = (0, 1, 23, 24, 255, 2**16, 2**24, 2**31, 2**32, 2**40, 2**63 - 1, 2**64 - 1)


def damaged(rng: random.Random, corpus: list[bytes]) -> bytes:
    if rng.random() < 0.06:
        return rng.randbytes(rng.randrange(64))
    data = bytearray(rng.choice(corpus))
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(data) + 1)
        cut = sorted((at, min(len(data), at + rng.randrange(12))))
        kind = rng.randrange(10)
        if kind <= 2 and at < len(data):
            data[at] ^= 1 << rng.randrange(8)
        elif kind == 3 and at < len(data):
            data[at] = rng.choice(
                (0x00, 0x1B, 0x5F, 0x7F, 0x80, 0x9F, 0xC0, 0xD8, 0xF7, 0xF8, 0xFB, 0xFF)
            )
        elif kind == 4:
            del data[at:]
        elif kind == 5:
            del data[cut[0] : cut[1]]
        elif kind == 6:
            data[at:at] = data[cut[0] : cut[1]]
        elif kind == 7:
            other = rng.choice(corpus)
            start = rng.randrange(len(other) + 1)
            data[cut[0] : cut[1]] = other[start : start + rng.randrange(1, 40)]
        elif kind == 8:  # a tag that somebody may read: ours, and what cbor2 knows
            data[at:at] = rng.choice(TAGS)
        else:  # a head that claims any length, or a tag
            data[at:at] = bytes(
                [rng.choice((0x1B, 0x3B, 0x5B, 0x7B, 0x9B, 0xBB, 0xDB))]
            ) + rng.choice(LENGTHS).to_bytes(8, "big")
    return bytes(data)


def fuzz(
    name: str, corpus: list[bytes], check: Callable[[bytes], None], inputs: int = INPUTS
) -> None:
    if text := os.environ.get("STEPWELL_INPUT"):
        return check(bytes.fromhex(text))
    rng = random.Random(f"{SEED} {name}")
    for data in (*corpus, *(damaged(rng, corpus) for _ in range(inputs))):
        try:
            check(data)
        except BaseException:
            print(
                f"seed {SEED}; to see it again:\nSTEPWELL_INPUT={data.hex()} python -m pytest "
                f"tests/test_fuzz_codec.py -k {name}"
            )
            raise
    return None


class Color(enum.Enum):
    RED = "red"
    BLUE = 2


class Rights(enum.Flag):
    READ = 1
    WRITE = 2


class Pair(NamedTuple):
    a: int
    b: str = ""


class Parcel(TypedDict, total=False):
    weight: float
    to: str


@dataclass
class Leaf:
    name: str
    size: int = 0


@dataclass
class Tree:
    leaves: list[Leaf] = field(default_factory=list)
    inner: "Tree | None" = None
    extra: Any = None


MOMENT = datetime(2026, 1, 2, 3, 4, 5, 678_901, UTC)
PLAIN: list[Any] = [
    None, True, 0, -1, 23, 24, 2**63, 2**64, -(2**70), 1.5, math.inf, math.nan, "", "text",
    "🦀" * 10, b"", b"bytes" * 9,
    MOMENT, MOMENT.replace(fold=1),
    MOMENT.astimezone(timezone(timedelta(hours=-9))), date(2026, 1, 2), uuid.UUID(int=5),
    Decimal("-1.50"), Decimal("1E+6"),
    [], [1, [2, [3, ["x"]]]], {}, {"a": 1, "b": {"c": [None, 1.0]}},
    {1: 2, b"k": 3, (1, ("x",)): 4}, {1, 2, "x"}, {frozenset({1}), (1, 2)},
    {"order": "4711", "lines": [{"sku": "a", "n": 2, "price": Decimal("9.99")}] * 3, "at": MOMENT},
]  # fmt: skip
TYPED: list[tuple[Any, Any]] = [
    (Tree, Tree([Leaf("a", 1), Leaf("b")], Tree([], None, {"x": [1, 2]}), None)),
    (list[Leaf | Pair], [Leaf("x"), Pair(1, "b")]),
    (Color, Color.BLUE),
    (Rights, Rights.READ | Rights.WRITE),
    (Literal["a", 1, True], "a"),
    (dict[str, tuple[int, ...]], {"a": (1, 2), "b": ()}),
    (dict[tuple[int, str], float], {(1, "a"): 1.5, (2, "b"): 2}),
    (set[uuid.UUID], {uuid.UUID(int=1), uuid.UUID(int=2)}),
    (frozenset[int | str], frozenset({1, "a"})),
    (Parcel, {"weight": 1.5, "to": "here"}),
    (tuple[int, str, Decimal | None], (1, "a", Decimal("NaN"))),
    (timedelta, timedelta(days=1, microseconds=7)),
    (datetime, MOMENT.replace(tzinfo=None)),
    (datetime, MOMENT.replace(tzinfo=None, fold=1)),
    (list[datetime], [MOMENT]),
    (int | str | bytes | None, b"x"),
    (list[int] | dict[str, int] | Leaf, [1, 2]),
    (Decimal, Decimal("-0")),
]


def in_few_words(error: Exception) -> None:
    assert 10 < len(str(error)) < MESSAGE_MAX


def check_refusal(error: Undecodable) -> None:
    in_few_words(error)
    assert str(error).startswith("result"), error


def classes(value: Any) -> set[type]:
    inner: list[Any] = []
    if isinstance(value, dict):
        inner = [*value, *value.values()]
    elif isinstance(value, (list, tuple, set, frozenset)):
        inner = list(value)
    return {type(value)}.union(*map(classes, inner))


def check_value(value: Any, type: Any) -> None:
    """Written again it is the same, or it is refused as any other such value: `undefined`, a frozen
    stand-in."""
    try:
        once = codec.encode(value, type)
    except NotSerializable as error:
        return in_few_words(error)
    again = codec.decode(once, type)
    assert codec.encode(again, type) == once
    assert again == value or "nan" in repr(value)
    return None


@pytest.mark.slow
def test_plain_values() -> None:
    def check(data: bytes) -> None:
        try:
            value = codec.decode(data)
        except Undecodable as error:
            return check_refusal(error)
        # cbor2's own: `undefined`, simple values, and maps that are keys.
        assert not [
            cls
            for cls in classes(value)
            if cls.__module__ not in ("builtins", "datetime", "uuid", "decimal", "cbor2")
        ]
        return check_value(value, Any)

    fuzz("test_plain_values", [codec.encode(value) for value in PLAIN], check)


@pytest.mark.slow
def test_declared_types() -> None:
    corpus = [codec.encode(value, type) for type, value in TYPED] + [
        codec.encode(value) for value in PLAIN
    ]
    for type_, value in TYPED:
        assert repr(codec.decode(codec.encode(value, type_), type_)) == repr(value)

    def check(data: bytes) -> None:
        for type_, _ in TYPED:
            try:
                value = codec.decode(data, type_)
            except Undecodable as error:
                check_refusal(error)
                continue
            once = codec.encode(value, type_) if type_ is not Tree else None
            if once is not None:
                assert codec.encode(codec.decode(once, type_), type_) == once
            else:
                check_value(value, type_)  # its `extra` may be anything

    fuzz("test_declared_types", corpus, check, INPUTS // len(TYPED))


def test_what_a_head_claims_is_not_allocated() -> None:
    tracemalloc.start()
    try:
        for major in (0x40, 0x60, 0x80, 0xA0):
            for length in LENGTHS[4:]:
                for rest in (b"", b"\x01\x02\x03", b"\x61a\x01" * 20):
                    with pytest.raises(Undecodable):
                        codec.decode(bytes([major | 27]) + length.to_bytes(8, "big") + rest)
        assert tracemalloc.get_traced_memory()[1] < 200_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    "unit",
    [
        b"\x81",
        b"\xa1\x01",
        b"\xa1",
        b"\xc0",
        b"\xc2",
        b"\xc4\x82",
        b"\xd8\x25",
        b"\xd9\x01\x02\x81",
        b"\xd9\x03\xec",
    ],
)
def test_a_bomb_of_any_nesting_is_refused(unit: bytes) -> None:
    for times in (65, 1_000, 300_000):
        with pytest.raises(Undecodable):
            codec.decode(unit * times)
        with pytest.raises(Undecodable):
            codec.decode(unit * times + b"\x01")


@pytest.mark.parametrize(
    "data",
    [
        b"\xc4\x82\x01\xc2\x5a\x00\x10\x00\x00" + b"\xff" * (1 << 20),
        b"\xc2\x5a\x00\x10\x00\x00" + b"\xff" * (1 << 20),
        b"\xc0\x7a\x00\x10\x00\x00" + b"1" * (1 << 20),
        b"\xd9\x03\xec\x7a\x00\x10\x00\x00" + b"1" * (1 << 20),
        b"\xd9\x01\x02\x9a\x00\x10\x00\x00" + b"\x01" * (1 << 20),
        b"\xba\x00\x08\x00\x00" + b"\x01\x01" * (1 << 19),
        b"\x9a\x00\x01\x00\x00" + b"\xc4\x82\x01\xc2\x4a1234567890" * (1 << 16),
    ],
)
@pytest.mark.parametrize("type", [Any, int, str, Decimal, list[str], Tree])
def test_a_mebibyte_of_anything_is_read_or_refused_in_no_time(data: bytes, type: Any) -> None:
    began = time.process_time()
    try:
        codec.decode(data, type)
    except Undecodable as error:
        check_refusal(error)
    # Generous: a Decimal of a mebibyte took two minutes before its digits were limited.
    assert time.process_time() - began < 5


def nested(value: Any, levels: int) -> Any:
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize(
    "value",
    [
        1,
        2**70,
        MOMENT,
        MOMENT.date(),
        uuid.UUID(int=1),
        Decimal("1.5"),
        Decimal(2**70),
        {1},
        {MOMENT.date()},
        {(1, (2,)): 1},
        {2**70: 1},
        (1,),
    ],
)
@pytest.mark.parametrize("type", [Any, list[Any]])
def test_what_is_written_near_the_greatest_depth_can_be_read(value: Any, type: Any) -> None:
    """Tags count as levels for whoever reads, so they have to for whoever writes."""
    written = 0
    for levels in range(55, 67):
        whole = nested(value, levels)
        try:
            data = codec.encode(whole, type)
        except NotSerializable:
            continue
        again = codec.decode(data, type)
        assert again == (whole if value != (1,) else nested([1], levels))
        written = levels
    assert 60 <= written <= 64
    key: Any = 1
    for _ in range(100):
        key = (key,)
    with pytest.raises(NotSerializable, match="levels deep"):
        codec.encode({key: 1})


def test_a_decimal_has_at_most_4096_digits() -> None:
    longest = Decimal("1" * 4096 + "E-7")
    for type in (Any, Decimal):
        assert codec.decode(codec.encode(longest, type), type) == longest
        assert codec.decode(codec.encode([longest, "x" * 5000], Any)) == [longest, "x" * 5000]
        with pytest.raises(NotSerializable, match="4,097 digits, more than 4,096"):
            codec.encode(Decimal("1" * 4097), type)
    exact = [
        Decimal("1.50"),
        Decimal("-3E+900"),
        Decimal("0E-5"),
        Decimal(2**70),
        Decimal(-(2**64)),
    ]
    assert repr(codec.decode(codec.encode([*exact, "x" * 5000]))[:-1]) == repr(exact)


def test_a_number_too_long_to_show_is_still_refused_with_its_place() -> None:
    with pytest.raises(NotSerializable, match=r"result\[int too large to show\] is an object"):
        codec.encode({10**5000: object()})
    with pytest.raises(
        Undecodable, match="is stored as an int too large to show, and cannot become str"
    ):
        codec.decode(codec.encode(10**5000), str)


_watched: list[str] = []
_watching = False


def _audit(event: str, args: tuple[Any, ...]) -> None:
    if _watching and event.split(".")[0] in (
        "import",
        "exec",
        "compile",
        "os",
        "subprocess",
        "open",
        "ctypes",
        "marshal",
        "pickle",
    ):
        _watched.append(f"{event} {args!r:.100}")


sys.addaudithook(_audit)  # for good, but idle unless `_watching`


@pytest.fixture
def quiet_log() -> Iterator[None]:
    """Each name that is not found is a warning."""
    log = logging.getLogger("stepwell")
    level = log.level
    log.setLevel(logging.CRITICAL)
    yield
    log.setLevel(level)
    failures._warned.clear()


class Declined(Exception):
    armed = False

    def __new__(cls, *args: Any) -> "Declined":
        assert not cls.armed, "a revived exception ran its own code"
        return super().__new__(cls, *args)

    def __setattr__(self, name: str, value: Any) -> None:
        assert not self.armed, "a revived exception ran its own code"
        super().__setattr__(name, value)


def _records() -> list[dict[str, Any]]:
    error = Declined("no", 1)
    error.code = 7  # type: ignore[attr-defined]
    records = [
        describe(error, step="charge", attempts=3),
        describe(OSError(2, "gone", "f"), step="read", attempts=1),
    ]
    records.append(describe_body(ExceptionGroup("two", [ValueError("a"), KeyError("b")])))
    for module, name in [
        ("os", "system"), ("subprocess", "Popen"), ("builtins", "eval"), ("builtins", "SystemExit"),
        ("antigravity", "X"), ("this", "s"),
        ("stepwell", "StepFailed"), ("stepwell._values.failures", "sys.modules"),
        ("builtins", "object.__subclasses__"), ("os.path", "os.system"),
        (__name__, "Declined.__init__"), (__name__, "Declined"), ("cbor2", "CBORDecodeError"),
        ("builtins", "BaseExceptionGroup"),
    ]:  # fmt: skip
        records.append({**records[0], "module": module, "class": name})
    fields = {
        "__class__": "int",
        "__dict__": {},
        "with_traceback": None,
        "step": 9,
        "args": [1],
        "x": 1,
    }
    records.append({**records[1], "fields": fields, "builtin": {"errno": "x", "__init__": 1}})
    return records


@pytest.mark.slow
@pytest.mark.usefixtures("quiet_log")
def test_recorded_failures(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = set(sys.modules)
    plain = [codec.encode(record) for record in _records()]
    monkeypatch.setattr(Declined, "armed", True)

    def check(data: bytes) -> None:
        global _watching
        _watched.clear()
        try:
            record = codec.decode(data)
            _watching = True  # nothing may be imported, compiled, run or opened
            info = error_info(record)
            exc = revive(record)
        except Undecodable as error:
            return in_few_words(error)
        finally:
            _watching = False
        assert not _watched
        assert isinstance(exc, StepFailed)
        assert isinstance(exc, Exception)
        assert vars(exc)["type"] == info.type
        assert type(exc).__mro__.count(BaseException) == 1
        assert not [name for name in vars(exc) if name.startswith("__")]
        return None

    fuzz("test_recorded_failures", plain, check, INPUTS // 2)
    if "STEPWELL_INPUT" not in os.environ:
        assert set(sys.modules) == loaded


@pytest.mark.parametrize(
    "record",
    [
        None,
        5,
        [],
        {"message": 5},
        {"module": []},
        {"class": None},
        {"args": 5},
        {"fields": [1]},
        {"builtin": "x"},
        {"attempts": "many"},
    ],
)
def test_what_is_no_record_of_a_failure_is_undecodable(record: Any) -> None:
    for read in (revive, error_info):
        with pytest.raises(Undecodable, match="recorded failure"):
            read(record)


TEXTS = [
    "10 seconds",
    "1.5 h",
    "7 days",
    "500ms",
    "0 s",
    "365 days",
    "999999999999999999 weeks",
    "orders/1.a:b@c+d-e",
    "order.paid_2",
    "charge 🦀",
]


@pytest.mark.slow
def test_durations_and_names() -> None:
    checks: list[tuple[Callable[[Any], str], int]] = [
        (names.workflow_name, 64),
        (names.instance_id, 100),
        (names.event_type, 100),
        (names.step_name, 256),
    ]

    def check(data: bytes) -> None:
        text = data.decode("utf-8", "surrogateescape")
        try:
            assert 0 <= to_us(text) <= DURATION_MAX_US
        except InvalidConfig as error:
            in_few_words(error)
        for read, longest in checks:
            try:
                assert read(text) is text
            except InvalidName as error:
                in_few_words(error)
                continue
            assert 0 < len(text) <= longest
            assert text.encode()
            assert not any(ord(char) < 32 or 127 <= ord(char) < 160 for char in text)
        try:
            attributes = names.attributes({text: text})
        except InvalidConfig as error:
            in_few_words(error)
        else:
            assert codec.decode(codec.encode(attributes)) == attributes

    fuzz("test_durations_and_names", [text.encode() for text in TEXTS], check)
