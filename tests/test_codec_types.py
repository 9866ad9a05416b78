"""Declared types (D7): encoding is strict, decoding forgives, and unions know their members by
name."""

import enum
import functools
import sys
from collections.abc import Awaitable, Iterator, Mapping, Sequence, Set
from dataclasses import InitVar, dataclass, field, make_dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import (
    Annotated,
    Any,
    Final,
    Generic,
    Literal,
    NamedTuple,
    NewType,
    NotRequired,
    Optional,
    TypedDict,
    TypeVar,
    Union,
)
from uuid import UUID

import attrs
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepwell import NotSerializable
from stepwell._values.codec import Codec, Undecodable
from stepwell._values.hints import params_type, return_type

codec = Codec()
T = TypeVar("T")


def back(value: Any, type: Any) -> Any:
    return codec.decode(codec.encode(value, type), type)


class Color(enum.Enum):
    RED = "r"
    BLUE = ("b", 2)


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Mode(enum.Flag):
    READ = 1
    WRITE = 2


@dataclass
class Point:
    x: int
    y: float = 0.0


@dataclass(frozen=True, slots=True)
class Circle:
    center: Point
    radius: float = 1.0


@dataclass
class Tree:
    value: int
    children: "list[Tree]" = field(default_factory=list)


@dataclass
class Box(Generic[T]):
    item: T
    more: list[T] = field(default_factory=list)


@dataclass
class IntBox(Box[int]):
    label: str = ""


@dataclass
class Derived:
    base: int
    double: int = field(init=False)

    def __post_init__(self) -> None:
        self.double = self.base * 2


@dataclass
class WithSecret:
    x: int
    secret: InitVar[str]


@attrs.frozen
class Person:
    name: str
    _age: int = 0
    tags: list[str] = attrs.Factory(list)


@dataclass(frozen=True)
class Doubled:
    base: int
    double: int = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "double", self.base * 2)


@dataclass
class Awkward:
    """Fields named as cattrs names its own arguments."""

    cl: int
    attrs: str
    converter: int
    typevar_map: int
    res: int = 0
    errors: Final[int] = 0  # type: ignore[misc]


@attrs.define
class Private:
    _x: int
    z: int = attrs.field(default=3, kw_only=True, converter=int)
    w: list[int] = attrs.field(factory=list, init=False)


class Nodes(NamedTuple):
    items: "list[Nodes]"


Head = TypedDict("Head", {"content-type": str, "from": NotRequired[Annotated[int, []]]})


class Kids(TypedDict):
    kids: NotRequired["list[Kids]"]


class Movie(TypedDict):
    title: str
    year: NotRequired[int]


class Pair(NamedTuple):
    a: int
    b: str = "b"


class User(pydantic.BaseModel):
    id: int
    email: str = pydantic.Field(alias="e-mail", default="")
    when: datetime | None = None
    price: Decimal = Decimal(0)
    inner: list[Point] = []


class Password(pydantic.BaseModel):
    value: pydantic.SecretStr


class Cat(pydantic.BaseModel):
    name: str


class Dog(pydantic.BaseModel):
    name: str


UserId = NewType("UserId", str)


CASES: list[tuple[Any, Any]] = [
    (int, 5),
    (float, 2.5),
    (float, 3),
    (None, None),
    (Optional[int], None),  # noqa: UP045
    (bytes, b"x"),
    (datetime, datetime(2026, 1, 1, tzinfo=UTC)),
    (datetime, datetime(2026, 1, 1, 1, 2, 3, 4)),
    (date, date(2026, 1, 1)),
    (timedelta, timedelta(days=-1, microseconds=3)),
    (UUID, UUID(int=7)),
    (Decimal, Decimal("1.100")),
    (Decimal, Decimal("-0.00")),
    (Decimal, Decimal("-Infinity")),
    (Color, Color.BLUE),
    (Level, Level.HIGH),
    (Mode, Mode.READ | Mode.WRITE),
    (Literal["a", 1, Color.RED, None], Color.RED),
    (Literal["a", 1], 1),
    (tuple[int, str], (1, "a")),
    (tuple[int, ...], (1, 2, 3)),
    (tuple[()], ()),
    (tuple, (1, "a")),
    (list, [1, "a", [2]]),
    (dict, {"a": 1}),
    (set[int], {1, 2}),
    (set[tuple[int, str]], {(1, "a"), (2, "b")}),
    (frozenset[str], frozenset({"a"})),
    (Set[int], {1}),
    (set[Pair], {Pair(1), Pair(2)}),
    (Sequence[int], [1, 2]),
    (Mapping[str, float], {"a": 1, "b": 2.5}),
    (dict[int, list[Point]], {1: [Point(1)], 2: []}),
    (dict[tuple[int, int], str], {(1, 2): "x"}),
    (dict[Color, int], {Color.RED: 1}),
    (dict[UUID, Any], {UUID(int=1): [1]}),
    (Point, Point(1, 2)),
    (Circle, Circle(Point(1), 2.0)),
    (Tree, Tree(1, [Tree(2, [Tree(3)]), Tree(4)])),
    (Box[int], Box(1, [2])),
    (Box[Point], Box(Point(1), [Point(2)])),
    (Box[Box[str]], Box(Box("a"))),
    (IntBox, IntBox(1, [2], "x")),
    (Derived, Derived(4)),
    (Person, Person("a", 4, ["x"])),
    (Doubled, Doubled(4)),
    (Awkward, Awkward(1, "a", 3, 4, 5, 6)),
    (Private, Private(1, z=2)),
    (Nodes, Nodes([Nodes([])])),
    (Head, {"content-type": "x", "from": 2}),
    (Kids, {"kids": [{"kids": []}]}),
    (Movie, {"title": "x"}),
    (Movie, {"title": "x", "year": 1999}),
    (Pair, Pair(1, "x")),
    (
        User,
        User.model_validate(
            {
                "id": 1,
                "e-mail": "a@b",
                "when": datetime(2026, 1, 1, tzinfo=UTC),
                "price": "1.10",
                "inner": [{"x": 1}],
            }
        ),
    ),
    (Annotated[int, "positive"], 3),
    (Annotated[list[int], ["unhashable"]], [3]),
    (UserId, UserId("u")),
    (Union[int, str], "x"),  # noqa: UP007
    (int | float, 1),
    (int | float, 1.0),
    (float | None, 1),
    (int | str | None, None),
    (Point | Circle, Point(1)),
    (Point | Circle | None, Circle(Point(2))),
    (list[Point | Circle | int], [Point(1), Circle(Point(2)), 5]),
    (Cat | Dog, Dog(name="x")),
    (Cat | Point | None, Cat(name="x")),
    (Box[int] | Box[str], Box("x")),
    (Box[int] | Box[str], Box(1)),
    (list[int] | list[str], ["a"]),
    (list[int] | list[str], [1]),
    (str | Color, Color.RED),
    (str | Color, "RED"),
    (str | datetime, "2026-01-01"),
    (str | datetime, datetime(2026, 1, 1)),
    (int | timedelta, timedelta(1)),
    (dict[str, Any] | Point, {"$type": "Point", "x": 1}),
    (dict[str, Any] | Point, Point(3)),
    (dict[str, str] | list[int] | list[str], {"$type": "x"}),
    (set[int] | list[int], {1}),
    (tuple[int, ...] | list[int], (1,)),
    (bool | int, True),
    (bool | int, 1),
    (Literal["a"] | int, "a"),
    (Movie | Point, {"title": "x"}),
    (Person | Point | Pair | Movie, Pair(1)),
]


def same(one: Any, other: Any) -> bool:
    return (
        type(one) is type(other)
        and one == other
        and (isinstance(one, User) or repr(one) == repr(other))
    )


@pytest.mark.parametrize(("tp", "value"), CASES, ids=str)
def test_a_declared_value_comes_back_as_itself(tp: Any, value: Any) -> None:
    if isinstance(value, (set, frozenset)):
        assert back(value, tp) == value
    else:
        assert same(back(value, tp), value)


@pytest.mark.parametrize(("tp", "value"), CASES, ids=str)
def test_a_declared_value_comes_back_in_containers(tp: Any, value: Any) -> None:
    assert back([value, value], list[tp]) == [value, value]
    assert back({"a": value}, dict[str, tp]) == {"a": value}
    holder = make_dataclass("Holder", [("it", tp), ("n", int, 0)])
    assert back(holder(value), holder) == holder(value)
    if "unhashable" in str(tp):
        return
    assert back(holder(value), holder | Point | None) == holder(value)


def test_d7_an_int_passes_for_float() -> None:
    assert type(back(3, float)) is int
    assert type(back(Point(1, 2), Point).y) is int


@dataclass
class Point3(Point):
    z: int = 0


class MyInt(int):
    pass


@pytest.mark.parametrize(
    ("tp", "value", "text"),
    [
        (int, True, "result is a bool, declared as int"),
        (int, 1.0, "result is a float, declared as int"),
        (float, True, "result is a bool, declared as float"),
        (bool, 1, "result is an int, declared as bool"),
        (str, b"x", "result is a bytes, declared as str"),
        (
            str,
            None,
            "result is None, declared as str. Declare the type it has (a union, or | "
            "None), or pass as_type=.",
        ),
        (int, MyInt(3), "result is a test_codec_types.MyInt, declared as int"),
        (int, Level.LOW, "result is a test_codec_types.Level, declared as int"),
        (Color, "RED", "result is a str, declared as test_codec_types.Color"),
        (Literal["a"], "b", "result is 'b', declared as Literal['a']"),
        (Literal[1], True, "result is True, declared as Literal[1]"),
        (list[int], (1,), "result is a tuple, declared as list[int]"),
        (list[int], [1, "x"], "result[1] is a str, declared as int"),
        (tuple[int, str], (1,), "result has 1 items, declared as tuple[int, str]"),
        (tuple[int, str], (1, 2), "result[1] is an int, declared as str"),
        (dict[str, int], {"a": 1, "b": None}, 'result["b"] is None, declared as int'),
        (dict[str, int], {1: 1}, "is an int, declared as str"),
        (
            dict[Color, int],
            {"RED": 1},
            'result["RED"] is a str, declared as test_codec_types.Color',
        ),
        (dict[float, int], {float("nan"): 1}, "result has NaN as a key"),
        (dict[Point, int], {}, None),
        (datetime, date(2026, 1, 1), "result is a datetime.date, declared as datetime"),
        (date, datetime(2026, 1, 1), "result is a datetime.datetime, declared as date"),
        (
            Point,
            Point3(1),
            "result is a test_codec_types.Point3, declared as "
            "test_codec_types.Point. A subclass would come back as",
        ),
        (Point, {"x": 1}, "result is a dict, declared as test_codec_types.Point"),
        (Point, Point("x"), "result.x is a str, declared as int"),  # type: ignore[arg-type]
        (list[Circle], [Circle(Point(1)), Circle(Point(None))], "result[1].center.x is None"),  # type: ignore[arg-type]
        (
            Point | Circle,
            Point3(1),
            "result is a test_codec_types.Point3, declared as "
            "test_codec_types.Point | test_codec_types.Circle",
        ),
        (Point | Circle, Circle(Point("a")), "result.center.x is a str"),  # type: ignore[arg-type]
        (int | str, 1.0, "result is a float, declared as int | str"),
        (Box[int], Box("x"), "result.item is a str, declared as int"),
        (Box[Box[str]], Box(Box(3)), "result.item.item is an int, declared as str"),
        (
            Tree,
            Tree(1, [Tree(2, [Point(1)])]),
            "result.children[0].children[0] is a test_codec_types.Point",
        ),  # type: ignore[list-item]
        (Nodes, Nodes([3]), "result.items[0] is an int"),  # type: ignore[list-item]
        (Kids, {"kids": [{"kids": [3]}]}, 'result["kids"][0]["kids"][0] is an int'),
        (Movie, {"titel": "x"}, 'result has no key "title", declared as test_codec_types.Movie'),
        (
            Movie,
            {"title": "x", "yaer": 1},
            'result["yaer"] is a key that test_codec_types.Movie does not declare',
        ),
        (Password, Password(value=pydantic.SecretStr("x")), "does not come back equal"),
        (WithSecret, WithSecret(1, "s"), "has an InitVar without default (secret)"),
        (codec.__class__, codec, "result is a stepwell._values.codec.Codec. Return plain data"),
        (complex, 1j, "result is a complex. Return plain data"),
        (None, 3, "result is an int, declared as None"),
        (list[Any], [{"a": object()}], 'result[0]["a"] is an object'),
    ],
)
def test_d7_a_value_of_another_class_is_refused_with_its_place(
    tp: Any, value: Any, text: str | None
) -> None:
    if text is None:
        assert back(value, tp) == value
        return
    with pytest.raises(NotSerializable) as caught:
        codec.encode(value, tp)
    assert text in str(caught.value)


@dataclass
class Order1:
    id: str
    legacy: int = 0


@dataclass
class Order2:
    id: str
    note: str = "none"
    lines: list[str] = field(default_factory=list)


@dataclass
class Order3:
    id: str
    must: int


def test_d7_unknown_fields_are_ignored_and_missing_ones_take_their_defaults() -> None:
    assert codec.decode(codec.encode(Order1("o", 5), Order1), Order2) == Order2("o", "none", [])
    assert codec.decode(codec.encode({"name": "x", "other": 1}), Person) == Person("x")
    assert codec.decode(codec.encode({"a": 1, "z": 1}), Pair) == Pair(1)
    assert codec.decode(codec.encode({"title": "x", "z": 1}), Movie) == {"title": "x"}
    assert codec.decode(codec.encode({"id": 3, "z": 1}), User) == User(id=3)


@pytest.mark.parametrize(
    ("stored", "tp", "path", "wanted"),
    [
        ({"id": "o"}, Order3, "result", "test_codec_types.Order3"),
        ({"id": 3}, Order2, "result.id", "str"),
        (
            [[1, {"center": {}}]],
            list[tuple[int, Circle]],
            "result[0][1].center",
            "test_codec_types.Point",
        ),
        ({"kids": [{"kids": [3]}]}, Kids, 'result["kids"][0]["kids"][0]', "test_codec_types.Kids"),
        ({"base": 1, "double": "x"}, Doubled, "result.double", "int"),
        ([{"id": "o", "lines": ["a", 3]}], list[Order2], "result[0].lines[1]", "str"),
        ("x", int, "result", "int"),
        (True, int, "result", "int"),
        (1, bool, "result", "bool"),
        (None, int, "result", "int"),
        ("GREEN", Color, "result", "test_codec_types.Color"),
        ("b", Literal["a"], "result", "Literal['a']"),
        ([1], tuple[int, str], "result", "tuple[int, str]"),
        ("x", datetime, "result", "datetime"),
        ("x", Decimal, "result", "Decimal"),
        (
            {"$type": "os.system"},
            Point | Circle,
            "result",
            "test_codec_types.Point | test_codec_types.Circle",
        ),
        ({"$type": "Circle", "x": 1}, Point, "result", "test_codec_types.Point"),
        ({"id": "not a number"}, User, "result", "test_codec_types.User"),
        ([[1]], set[Any], "result", "set[Any]"),
        (1.5, int | str, "result", "int | str"),
        (2**80, timedelta, "result", "timedelta"),
        ({"a": 1}, dict[str, str], 'result["a"]', "str"),
        (5, list[int], "result", "list[int]"),
        ({"x": 1, "secret": ""}, WithSecret, "result", "test_codec_types.WithSecret"),
    ],
)
def test_d7_what_cannot_become_todays_type_says_where_and_what(
    stored: Any, tp: Any, path: str, wanted: str
) -> None:
    with pytest.raises(Undecodable) as caught:
        codec.decode(codec.encode(stored), tp)
    assert (caught.value.path, caught.value.wanted) == (path, wanted)
    assert str(caught.value).startswith(path)
    assert wanted in str(caught.value)


def test_a_constructor_that_raises_is_undecodable_with_its_text() -> None:
    @dataclass
    class Picky:
        x: int

        def __post_init__(self) -> None:
            if self.x < 0:
                raise ValueError("x is negative")

    with pytest.raises(Undecodable, match="raised ValueError: x is negative"):
        codec.decode(codec.encode({"x": -1}), Picky)


def test_a_union_may_grow_and_shrink() -> None:
    was = codec.encode(Point(1), Point)
    assert codec.decode(was, Point | str) == Point(1)
    assert codec.decode(was, Point | Order3) == Point(1)
    assert codec.decode(codec.encode(Point(1), Point | Circle), Point) == Point(1)
    with pytest.raises(Undecodable, match="could be"):
        codec.decode(codec.encode({"id": "o"}), Order1 | Order2)


def test_a_str_may_become_an_enum() -> None:
    assert codec.decode(codec.encode("r"), Color) is Color.RED
    assert codec.decode(codec.encode(2), Level) is Level.HIGH


def test_only_members_that_could_be_mistaken_are_tagged() -> None:
    assert codec.decode(codec.encode(Point(1), Point | None)) == {"x": 1, "y": 0.0}
    assert codec.decode(codec.encode(Point(1), Point | Circle)) == {
        "$type": "Point",
        "x": 1,
        "y": 0.0,
    }
    assert codec.decode(codec.encode([1], list[int] | list[str])) == {
        "$type": "list[int]",
        "value": [1],
    }


@given(
    st.recursive(
        st.builds(Tree, st.integers()),
        lambda inner: st.builds(Tree, st.integers(), st.lists(inner, max_size=4)),
        max_leaves=20,
    )
)
def test_recursive_classes_come_back(value: Tree) -> None:
    assert back(value, Tree) == value


@given(
    st.lists(
        st.builds(Point, st.integers(), st.floats(allow_nan=False))
        | st.builds(Circle, st.builds(Point, st.integers()))
        | st.text()
    )
)
def test_mixed_unions_come_back(value: list[Any]) -> None:
    assert back(value, list[Point | Circle | str]) == value


def test_a_local_class_may_mention_itself() -> None:
    @dataclass
    class Linked:
        next: "Linked | None" = None

    assert back(Linked(Linked()), Linked) == Linked(Linked())


def test_an_annotation_that_names_nothing_stores_plain_values_and_says_so_for_others() -> None:
    async def fetch(step: Any, params: "Nowhere") -> "list[Nowhere]":  # type: ignore[name-defined]  # noqa: F821
        return []

    assert codec.decode(codec.encode([1], return_type(fetch)), return_type(fetch)) == [1]
    with pytest.raises(
        NotSerializable, match=r'annotation "list\[Nowhere\]" of .*fetch cannot be resolved'
    ):
        codec.encode(Point(1), return_type(fetch))
    assert codec.encode(1, params_type(fetch))


def test_annotations_of_functions() -> None:
    @dataclass
    class Local:
        x: int

    async def body(step: Any, params: "Local") -> "Local | None":
        return Local(1) if params else None

    def bare(step, params):  # type: ignore[no-untyped-def]
        return None

    async def no_params(step: Any) -> None: ...

    def returns_awaitable() -> Awaitable[int]:
        raise NotImplementedError

    class Handler:
        def __call__(self, step: Any, params: int) -> str:
            return ""

    assert (params_type(body), return_type(body)) == (Local, Local | None)
    assert (params_type(bare), return_type(bare)) == (Any, Any)
    assert (params_type(no_params), return_type(no_params)) == (type(None), type(None))
    assert return_type(returns_awaitable) is int
    assert return_type(functools.partial(body, 1)) == Local | None
    assert (params_type(Handler()), return_type(Handler())) == (int, str)
    assert return_type(len) is Any
    assert return_type(Handler().__call__) is str
    assert return_type(Point) is Point
    assert return_type(lambda: 3) is Any


def test_an_object_without_a_declared_attribute_is_refused_with_its_place() -> None:
    broken = Point(1)
    del broken.x
    with pytest.raises(
        NotSerializable,
        match=r"result\[0\]\.center has no attribute x: it was never set or was deleted",
    ):
        codec.encode([Circle(broken)], list[Circle])


def test_two_members_of_one_name_are_told_apart_by_module() -> None:
    one = make_dataclass("Thing", [("a", int, 0)])
    two = make_dataclass("Thing", [("a", int, 0)])
    one.__module__, two.__module__ = "one", "two"
    value = back(two(5), one | two)
    assert type(value) is two


@pytest.mark.skipif(sys.version_info < (3, 12), reason="type aliases are a statement since 3.12")
def test_type_aliases_are_seen_through() -> None:
    scope: dict[str, Any] = {}
    exec("type Ids = list[int]", scope)
    assert back([1], scope["Ids"]) == [1]


def test_a_plan_is_made_once_per_type() -> None:
    assert codec.plan(list[int]) is codec.plan(list[int])
    assert codec.plan() is codec.plan(Any)


@pytest.mark.parametrize(
    ("stored", "tp", "text"),
    [
        (1, time, "result is stored as int 1, but datetime.time is not a type that can be stored"),
        (
            {"x": 1},
            WithSecret,
            "result is stored as a map, but test_codec_types.WithSecret has an InitVar without "
            "default (secret), which an",
        ),
        (
            {"$type": "Gone"},
            Point | Circle,
            "result is stored with the name 'Gone', and cannot "
            "become test_codec_types.Point | test",
        ),
        (
            {"$type": "Gone"},
            Point,
            "result is stored with the name 'Gone', and cannot become test_codec_types.Point",
        ),
        (
            {"x": 1, "y": 2},
            Point | Point3,
            "result is stored without a name, and could be test_codec_types.Point or "
            "test_codec_types.Point3",
        ),
        (
            {},
            Movie,
            'result has no field "title", which has no default, and cannot become '
            "test_codec_types.Movie",
        ),
    ],
)
def test_what_cannot_be_read_is_said_in_one_whole_sentence(stored: Any, tp: Any, text: str) -> None:
    with pytest.raises(Undecodable) as caught:
        codec.decode(codec.encode(stored), tp)
    assert str(caught.value).startswith(text)
    assert str(caught.value).count("cannot become") == text.count("cannot become")


def test_bytes_that_are_no_value_cannot_become_anything() -> None:
    with pytest.raises(Undecodable, match=r"^result is 1 byte that is not a stored value \(.*\)$"):
        codec.decode(b"\xff")


@pytest.mark.parametrize("tp", [Iterator[int], time, "Nope", type[int]])
def test_a_type_that_cannot_be_stored_is_said_of_the_type_and_not_of_the_value(tp: Any) -> None:
    with pytest.raises(
        NotSerializable,
        match=r"^result is declared as \S+, which is not a type that can be stored\. "
        r"Declare the type it has",
    ):
        codec.encode(1, tp)
