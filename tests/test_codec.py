"""Values: what is stored comes back as itself, and what would not is refused with its place."""

import enum
import math
import random
import uuid
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any, NamedTuple

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepwell import NotSerializable, TooLarge
from stepwell._values.codec import Codec, Undecodable

codec = Codec()


def back(value: Any, type: Any = Any) -> Any:
    return codec.decode(codec.encode(value, type), type)


scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text()
    | st.binary()
    | st.dates()
    | st.uuids()
    | st.decimals(allow_nan=False, allow_infinity=False).filter(
        lambda d: not (d.is_zero() and d.is_signed())
    )
    | st.datetimes(
        timezones=st.sampled_from(
            [UTC, timezone(timedelta(hours=-9, minutes=-30)), timezone(timedelta(hours=14))]
        )
    )
)
keys = st.text() | st.integers() | st.binary() | st.booleans() | st.uuids() | st.dates()
plain = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(keys, inner, max_size=5),
    max_leaves=30,
)


def identical(one: Any, other: Any) -> bool:
    """Equal in class too, all the way down."""
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return len(one) == len(other) and all(
            identical(a, b) and identical(x, y)
            for (a, x), (b, y) in zip(one.items(), other.items(), strict=True)
        )
    if isinstance(one, list):
        return len(one) == len(other) and all(map(identical, one, other))
    return bool(one == other)


@given(plain)
def test_plain_values_come_back_as_themselves(value: Any) -> None:
    assert identical(back(value), value)
    assert identical(back(value, object), value)


@given(st.binary(max_size=60))
def test_garbage_is_undecodable_or_a_plain_value(data: bytes) -> None:
    try:
        value = codec.decode(data)
    except Undecodable:
        return
    assert type(value).__module__ in ("builtins", "datetime", "uuid", "decimal", "cbor2")


@given(plain, st.data())
def test_a_truncated_value_is_undecodable(value: Any, data: st.DataObject) -> None:
    whole = codec.encode(value)
    cut = data.draw(st.integers(0, len(whole) - 1))
    with pytest.raises(Undecodable):
        codec.decode(whole[:cut])


@pytest.mark.parametrize(
    "value",
    [
        2**64,
        -(2**70),
        10**1000,
        -0.0,
        math.inf,
        5e-324,
        "",
        "\x00",
        "\x03end",
        ["\x03end"],
        "🦀" * 100,
        b"\xff",
    ],
)
def test_extreme_scalars_come_back(value: Any) -> None:
    assert identical(back(value), value)


def test_nan_comes_back_as_nan() -> None:
    assert math.isnan(back(float("nan")))


def test_d4_a_tuple_without_annotation_comes_back_as_a_list() -> None:
    assert back({"a": (1, (2, 3))}) == {"a": [1, [2, 3]]}
    assert back({(1, (2,)): "x"}) == {(1, (2,)): "x"}


def test_sets_come_back_as_sets() -> None:
    assert back({1, "a", (1, 2)}) == {1, "a", (1, 2)}
    assert type(back(frozenset({1}))) is set
    assert back({frozenset({1})}) == {frozenset({1})}


def test_equal_sets_have_equal_bytes() -> None:
    members = [str(n) for n in range(50)]
    other = list(members)
    random.Random(1).shuffle(other)
    assert codec.encode(set(members)) == codec.encode(set(other))
    assert codec.encode(set(members), set[str]) == codec.encode(set(other), set[str])


class Color(enum.IntEnum):
    RED = 1


class Text(str):
    pass


class Opaque:
    pass


@dataclass
class Point:
    x: int
    y: int = 0


class Pair(NamedTuple):
    a: int
    b: int


looped: list[Any] = []
looped.append(looped)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (
            {"pages": [0, 1, 2, Opaque()]},
            'result["pages"][3] is a test_codec.Opaque. Return plain data, or pass as_type=.',
        ),
        (Point(1), "result is a test_codec.Point. Annotate it as Point, or pass as_type=Point."),
        (
            [Pair(1, 2)],
            "result[0] is a test_codec.Pair, a subclass of tuple that would not come "
            "back as itself. ",
        ),
        (
            Color.RED,
            "result is a test_codec.Color, a subclass of int that would not come back as "
            "itself. Annotate it as Color,",
        ),
        ({"a": Text("x")}, 'result["a"] is a test_codec.Text, a subclass of str'),
        ({Text("k"): 1}, "result has a test_codec.Text as a key"),
        ({1.5: {float("nan"): 1}}, "result[1.5] has NaN as a key"),
        ({frozenset(): 1}, "result has a frozenset as a key. Use str, int"),
        ([datetime(2026, 1, 1)], "result[0] is a datetime without timezone. Give it one"),
        (
            [datetime(2026, 1, 1, tzinfo=timezone(timedelta(seconds=7)))],
            "result[0] is a datetime whose UTC offset is not in whole minutes. Convert",
        ),
        ([timedelta(1)], "result[0] is a datetime.timedelta."),
        ([Decimal("NaN")], "result[0] is Decimal('NaN'). Annotate it as Decimal"),
        (bytearray(b"x"), "result is a bytearray."),
        (memoryview(b"x"), "result is a memoryview."),
        (range(3), "result is a range."),
        ([1j], "result[0] is a complex."),
        ({"a": ["\udcff"]}, 'result["a"][0] has a lone surrogate at character 0'),
        ({"\udcff": 1}, "has a lone surrogate"),
        ({"\udcff"}, "has a lone surrogate"),
        (print, "result is a builtin_function_or_method"),
        (Opaque, "result is a type"),
        ([cbor2.undefined], "result[0] is a "),
        ([cbor2.CBORTag(35, "x")], "result[0] is a "),
    ],
)
def test_what_would_not_come_back_is_refused_with_its_place(value: Any, text: str) -> None:
    with pytest.raises(NotSerializable) as caught:
        codec.encode(value)
    assert text in str(caught.value)
    assert str(caught.value).startswith(caught.value.path)


def nested(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize("tp", [Any, list[Any], "recursive"])
def test_a_value_is_nested_at_most_64_levels(tp: Any) -> None:
    tp = Tree if tp == "recursive" else tp
    value = nested(64) if tp is not Tree else tree(32)
    assert back(value, tp) == value
    for levels in (65, 5_000, 100_000):
        value = nested(levels) if tp is not Tree else tree(levels)
        with pytest.raises(NotSerializable, match="nested more than 64 levels deep"):
            codec.encode(value, tp)
        if tp is Tree:
            while value.children:  # or freeing it recurses
                value = value.children.pop()
    assert back({"a": [{1}, nested(62)]}) == {"a": [{1}, nested(62)]}


def endless() -> None:
    endless()


@dataclass
class Endless:
    """Its code never ends, once `x` is above zero."""

    x: int = 0

    def __post_init__(self) -> None:
        if self.x:
            endless()


def test_code_of_a_class_that_recurses_is_not_taken_for_a_deep_value() -> None:
    value = Endless()
    value.x = 1
    with pytest.raises(NotSerializable, match=r"^result raised RecursionError.*Mend its class"):
        codec.encode(value, Endless)
    with pytest.raises(
        Undecodable, match=r"^result is stored, but code of .*Endless raised RecursionError"
    ):
        codec.decode(codec.encode({"x": 1}), Endless)


@dataclass
class Tree:
    children: "list[Tree]" = field(default_factory=list)


def tree(levels: int) -> Tree:
    value = Tree()
    for _ in range(levels - 1):
        value = Tree([value])
    return value


@pytest.mark.parametrize("tp", [Any, list[Any]])
def test_a_value_that_contains_itself_is_refused(tp: Any) -> None:
    with pytest.raises(NotSerializable, match="or contains itself"):
        codec.encode(looped, tp)
    mine: dict[str, Any] = {}
    mine["me"] = (mine,)
    with pytest.raises(NotSerializable, match="or contains itself"):
        codec.encode(mine)
    loop = Tree()
    loop.children.append(loop)
    with pytest.raises(NotSerializable, match="contains itself"):
        codec.encode(loop, Tree)


def test_the_size_limit_names_limit_size_and_place() -> None:
    assert codec.encode("x" * 100, limit=102)
    with pytest.raises(
        TooLarge, match=r"params is 103 bytes when encoded, over the limit of 102 \(value_bytes\)"
    ) as caught:
        codec.encode("x" * 101, where="params", limit=102)
    assert (caught.value.limit, caught.value.size) == (102, 103)
    with pytest.raises(TooLarge):
        codec.encode(b"x" * (1 << 20))


@pytest.mark.parametrize(
    "data",
    [
        b"", b"\xff", b"\x9f\x01\xff", b"\xbf\xff", b"\x7f\x61a\xff",
        b"\x9b\x7f\xff\xff\xff\xff\xff\xff\xff", b"\x61\xff",
        b"\x81" * 65 + b"\x01", b"\x81" * 1_000_000, b"\xd8\x23\x61a", b"\xc0\x61x",
        b"\xc4\x82\x01\x61a",
        b"\xa1\xd9\x03\xe7\x01\x01", b"\xd8\x1c\x01", b"\x82\x01",
    ],
)  # fmt: skip
def test_broken_bytes_are_undecodable(data: bytes) -> None:
    with pytest.raises(Undecodable) as caught:
        codec.decode(data, where="params")
    assert str(caught.value).startswith("params is ")


def test_no_tag_but_ours_is_read() -> None:
    read = set()
    for tag in [
        *range(1_200),
        21_065,
        38_880,
        39_999,
        40_000,
        43_000,
        43_001,
        55_799,
        65_535,
        70_000,
    ]:
        head = (
            bytes([0xC0 | tag])
            if tag < 24
            else b"\xd8" + bytes([tag])
            if tag < 256
            else b"\xda" + tag.to_bytes(4, "big")
        )
        for body in (
            b"\x01",
            b"\x61a",
            b"\x41a",
            b"\x80",
            b"\x82\x01\x02",
            b"\x6a2026-01-01",
            b"\xf6",
        ):
            try:
                codec.decode(head + body)
            except Undecodable:
                continue
            read.add(tag)
    assert read <= {0, 2, 3, 4, 37, 258, 1004}


def test_a_datetime_keeps_its_instant_and_offset() -> None:
    from zoneinfo import ZoneInfo

    when = datetime(2026, 7, 1, 12, tzinfo=ZoneInfo("Europe/Berlin"))
    again = back(when)
    assert again == when
    assert again.utcoffset() == timedelta(hours=2)


def test_a_stored_value_imports_and_calls_nothing() -> None:
    data = codec.encode({"$type": "os.system", "value": "true", "__class__": "os._Environ"})
    assert codec.decode(data) == {"$type": "os.system", "value": "true", "__class__": "os._Environ"}


def test_uuid_and_date_are_native_tags_others_can_read() -> None:
    value = {"id": uuid.UUID(int=5), "on": date(2026, 1, 2), "sum": Decimal("1.10")}
    assert cbor2.loads(codec.encode(value)) == value
