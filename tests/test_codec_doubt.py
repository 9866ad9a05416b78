"""What was stored comes back equal, or is refused (rule D8)."""

import enum
import re
from collections.abc import Iterator
from dataclasses import InitVar, dataclass, field, replace
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any, Generic, NamedTuple, Required, TypedDict, TypeVar
from uuid import UUID, uuid4
from zoneinfo import ZoneInfo

import attrs
import pydantic
import pytest

from stepwell import NotSerializable
from stepwell._values.codec import Codec, Undecodable

codec = Codec()
T = TypeVar("T")


def back(value: Any, type: Any) -> Any:
    return codec.decode(codec.encode(value, type), type)


# Constructors that do more than to keep their arguments.


class Liar:
    """Says of everything that it is equal."""

    def __eq__(self, other: object) -> bool:
        return True

    __hash__ = None  # type: ignore[assignment]


@dataclass(eq=False)
class Summed(Liar):
    base: int
    total: int = 0

    def __post_init__(self) -> None:
        self.total += self.base


@dataclass
class Positive:
    x: int

    def __post_init__(self) -> None:
        if self.x < 0:
            raise ValueError("negative")


@dataclass(eq=False)
class Shouting(Liar):
    text: str

    def __init__(self, text: str) -> None:
        self.text = f"{text}!"


@dataclass
class Renamed:
    x: int

    def __init__(self, y: int) -> None:
        self.x = y


@dataclass
class Positional:
    x: int

    def __init__(self, x: int, /) -> None:
        self.x = x


@dataclass
class Needy:
    x: int

    def __init__(self, x: int, key: str) -> None:
        self.x = x


@dataclass
class WithSecret:
    x: int
    secret: InitVar[str]


@dataclass(init=False)
class Bare:
    x: int


@dataclass
class Keyed:
    """Its constructor is its own, and does what the generated one would."""

    x: int

    def __init__(self, **fields: int) -> None:
        self.x = fields["x"]


@dataclass(eq=False)
class Counted(Liar):
    x: int

    def __setattr__(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value + 1)


class Made(NamedTuple("Made", [("x", int)])):
    def __new__(cls, x: int) -> "Made":
        return super().__new__(cls, x + 1)


class Shown(NamedTuple("Shown", [("x", int)])):
    @property
    def x(self) -> int:  # type: ignore[override]
        return self[0] + 1


@attrs.define(eq=False)
class Converted(Liar):
    text: str = attrs.field(converter=lambda text: f"{text}!")


@attrs.define
class Validated:
    x: int = attrs.field(validator=attrs.validators.ge(0))


@attrs.define(eq=False)
class After(Liar):
    x: int

    def __attrs_post_init__(self) -> None:
        self.x += 1


class Meta(type):
    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        made = super().__call__(*args, **kwargs)
        made.x += 1
        return made


@dataclass(eq=False)
class Manufactured(Liar, metaclass=Meta):
    x: int


@dataclass
class Cached:
    base: int
    double: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        self.double = self.base * 2


@dataclass
class Holder(Generic[T]):
    item: T
    more: "list[Holder[T]]" = field(default_factory=list)


def negative() -> Positive:
    value = Positive(1)
    value.x = -1
    return value


def invalid() -> Validated:
    value = Validated(1)
    object.__setattr__(value, "x", -1)
    return value


CHANGED: list[tuple[Any, Any, str]] = [
    (Summed(1), Summed, "would come back as 2, not 1: test_codec_doubt.Summed has a __post_init__"),
    (
        negative(),
        Positive,
        r"would not come back: test_codec_doubt.Positive\(...\) raised ValueError: negative",
    ),
    (
        Shouting("a"),
        Shouting,
        "would come back as 'a!!', not 'a!': test_codec_doubt.Shouting has an __init__ of its own",
    ),
    (
        Counted(1),
        Counted,
        "would come back as 3, not 2: test_codec_doubt.Counted has a __setattr__ of its own",
    ),
    (Made(1), Made, "would come back as 3, not 2: test_codec_doubt.Made has a __new__ of its own"),
    (
        Shown(1),
        Shown,
        "would come back as 3, not 2: test_codec_doubt.Shown has code for its field x",
    ),
    (
        Converted("a"),
        Converted,
        "would come back as 'a!!', not 'a!': test_codec_doubt.Converted has a converter for text",
    ),
    (invalid(), Validated, "would not come back: .*Validated"),
    (
        After(1),
        After,
        "would come back as 3, not 2: test_codec_doubt.After has a __attrs_post_init__",
    ),
    (
        Manufactured(1),
        Manufactured,
        "would come back as 3, not 2: test_codec_doubt.Manufactured "
        "has a metaclass that makes its objects",
    ),
]


@pytest.mark.parametrize(("value", "type_", "says"), CHANGED)
def test_d8_what_would_come_back_changed_is_refused_wherever_it_is(
    value: Any, type_: Any, says: str
) -> None:
    places = [
        (value, type_),
        ([value], list[type_]),
        ({"a": (1, value)}, dict[str, tuple[int, type_]]),
        (value, type_ | None),
        (Holder(value), Holder[type_]),
        (Holder(None, [Holder(value)]), Holder[type_ | None]),
    ]
    for whole, declared in places:
        with pytest.raises(NotSerializable, match=says) as caught:
            codec.encode(whole, declared)
        assert caught.value.path.startswith("result")


@pytest.mark.parametrize(
    ("value", "type_"),
    [
        (Summed(0), Summed),
        (Positive(1), Positive),
        (Keyed(x=1), Keyed),
        (Cached(2), Cached),
        (replace(Cached(2), base=3), Cached),
        (Validated(1), Validated),
        ([Positive(1), Cached(1)], list[Positive | Cached]),
        (Holder(Positive(1), [Holder(Positive(2))]), Holder[Positive]),
    ],
)
def test_d8_what_comes_back_as_it_was_is_stored_whatever_its_constructor_does(
    value: Any, type_: Any
) -> None:
    assert back(value, type_) == value
    assert type(back(value, type_)) is type(value)


def test_d8_a_changed_field_that_its_constructor_computes_is_kept() -> None:
    value = Cached(2)
    value.double = 5
    assert back(value, Cached) == value


@dataclass
class Second:
    firsts: "list[First]"


@dataclass
class First:
    x: int
    seconds: list[Second] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.x = abs(self.x)


def test_d8_doubt_reaches_through_types_that_mention_each_other() -> None:
    """Whichever is compiled first, and also by way of the one that is in no doubt itself."""
    odd = First(1)
    odd.x = -1
    for order in ([First, Second], [Second, First]):
        fresh = Codec()
        for type_ in order:
            fresh.plan(type_)
        for value, type_ in (
            (odd, First),
            (Second([odd]), Second),
            (First(1, [Second([odd])]), First),
        ):
            with pytest.raises(NotSerializable, match="would come back as 1, not -1"):
                fresh.encode(value, type_)


def test_d8_a_chain_of_doubtful_objects_is_checked_in_no_time() -> None:
    """Each object once: checking each within the check of the one around it would take 2**50 of
    them."""
    made: list[int] = []

    @dataclass
    class Link:
        inner: "Link | None" = None

        def __post_init__(self) -> None:
            made.append(1)

    chain = Link()
    for _ in range(49):
        chain = Link(chain)
    made.clear()
    assert back(chain, Link) == chain
    assert len(made) == 100  # for the check, and to come back


# Types of which no value can come back.


class Unfit(TypedDict, total=False):
    always: Required[Iterator[int]]
    other: int


class Maybe(TypedDict, total=False):
    never: Iterator[int]


@pytest.mark.parametrize(
    ("type_", "why"),
    [
        (Renamed, "Renamed has an __init__ that needs y, which is no field of its objects"),
        (Needy, "Needy has an __init__ that needs key"),
        (
            Positional,
            "Positional has an __init__ that needs x, which is no field of its "
            "objects|does not take its field x by name",
        ),
        (WithSecret, r"WithSecret has an InitVar without default \(secret\)"),
        (Bare, "Bare has no __init__ that takes its fields"),
        (Iterator[int], "is not a type that can be stored"),
        (bytearray, "bytearray is not a type"),
        (Renamed | Needy, "Renamed has an __init__"),
        (tuple[int, Renamed], "Renamed has an __init__"),
        (Holder[Renamed], r"Renamed has an __init__ .* \(field item\)"),
        (Unfit, r"\(field always\)"),
        (5, "5 is not a type"),
        ([int], "is not a type"),
    ],
)
def test_d8_a_type_that_can_never_come_back_is_known_before_there_is_a_value(
    type_: Any, why: str
) -> None:
    assert re.search(why, codec.plan(type_).never)


@pytest.mark.parametrize(
    "type_",
    [
        Any,
        None,
        int,
        Renamed | None,
        list[Renamed],
        dict[str, Needy],
        tuple[Renamed, ...],
        Maybe,
        Keyed,
        Summed,
    ],
)
def test_d8_a_type_of_which_some_values_come_back_is_no_such_type(type_: Any) -> None:
    assert codec.plan(type_).never == ""


# Datetimes.

LATER = datetime(2026, 10, 25, 2, 30, fold=1)


@pytest.mark.parametrize(
    "value",
    [LATER, LATER.replace(tzinfo=UTC), LATER.replace(tzinfo=timezone(timedelta(hours=1)))],
    ids=["naive", "utc", "offset"],
)
def test_d8_a_datetime_keeps_its_fold(value: datetime) -> None:
    places: list[tuple[Any, Any]] = [
        (value, datetime),
        ([value], list[datetime]),
        ({value: (value, 1)}, dict[datetime, tuple[datetime, int]]),
        ({value}, set[datetime]),
        ({(value, 1): 1}, dict[tuple[datetime, int], int]),
        (value, datetime | str | None),
    ]
    if value.tzinfo is not None:
        places += [
            (whole, Any)
            for whole in (value, [value], {value: value}, {(value, 1): 1}, {"x": {value}})
        ]
    for whole, type_ in places:
        again = back(whole, type_)
        assert again == whole
        assert repr(again).count("fold=1") == repr(whole).count("fold=1")
        first = codec.encode(replace_fold(whole), type_)
        assert codec.decode(first, type_) == replace_fold(whole)
        assert "fold" not in repr(codec.decode(first, type_))


def replace_fold(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.replace(fold=0)
    if isinstance(value, dict):
        return {replace_fold(key): replace_fold(member) for key, member in value.items()}
    return type(value)(map(replace_fold, value)) if isinstance(value, (list, tuple, set)) else value


def test_d8_the_second_hour_of_a_zone_is_the_same_instant_and_folded() -> None:
    value = LATER.replace(tzinfo=ZoneInfo("Europe/Berlin"))
    for type_ in (Any, datetime):
        again = back(value, type_)
        assert (again.timestamp(), again.utcoffset(), again.fold) == (
            value.timestamp(),
            value.utcoffset(),
            1,
        )


def test_d8_nothing_but_a_datetime_is_folded() -> None:
    for data in (
        b"\xd9\xc1\x57\x01",
        b"\xd9\xc1\x57\x61x",
        b"\xd9\xc1\x57\xd9\xc1\x57\x732026-10-25T02:30:00",
    ):
        with pytest.raises(Undecodable):
            codec.decode(data, datetime)


# pydantic.


class Patch(pydantic.BaseModel):
    name: str | None = None
    email: str | None = None


class Order(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="allow")
    id: UUID = pydantic.Field(default_factory=uuid4)
    patch: Patch = Patch()
    many: list[Patch] = []
    named: dict[str, Patch | int] = {}


class Strict(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(strict=True)
    at: datetime
    day: date
    id: UUID
    raw: bytes = b"x"
    items: tuple[int, ...] = ()
    colour: "Colour | None" = None


class Colour(enum.Enum):
    RED = "red"


class Patches(pydantic.RootModel[list[Patch]]):
    pass


class Anything(pydantic.RootModel[dict[str, Any]]):
    pass


class Frozen(pydantic.BaseModel, frozen=True):
    a: int = 0


class Bag(pydantic.BaseModel):
    all: set[Frozen]


@dataclass
class Wrapped:
    patch: Patch


def told(value: Any) -> Any:
    """What tells two models apart: their classes, fields and which of them were set, at any
    depth."""
    if isinstance(value, pydantic.BaseModel):
        return (
            type(value),
            value.model_fields_set,
            {key: told(member) for key, member in vars(value).items()},
            told(value.model_extra),
        )
    if isinstance(value, dict):
        return {key: told(member) for key, member in value.items()}
    if isinstance(value, (list, tuple)):
        return [told(member) for member in value]
    return value


@pytest.mark.parametrize(
    ("value", "type_"),
    [
        (Patch(), Patch),
        (Patch(name="x"), Patch),
        (Patch(name=None, email="e"), Patch),
        (Order(), Order),
        (
            Order(
                patch=Patch(email=None),
                many=[Patch(), Patch(name="a")],
                named={"a": 1, "b": Patch(name="x")},
                more=1,
            ),
            Order,
        ),
        (Order(extra=2, id=UUID(int=1)), Order),
        (Patches([Patch(), Patch(name="x"), Patch(name="x", email="y")]), Patches),
        (Anything({"$beside": 1, "root": 2}), Anything),
        (Anything({"a": 1}), Anything),
        (Bag(all={Frozen(a=1)}), Bag),
        ([Patch(), None], list[Patch | None]),
        (Patch(email="x"), Patch | Order),
    ],
)
def test_d8_a_model_keeps_which_of_its_fields_were_set(value: Any, type_: Any) -> None:
    assert told(back(value, type_)) == told(value)


def test_d8_a_model_in_a_dataclass_keeps_them_too() -> None:
    assert back(Wrapped(Patch(name="x")), Wrapped).patch.model_dump(exclude_unset=True) == {
        "name": "x"
    }


def test_a_model_stored_earlier_reads_as_before() -> None:
    old = codec.encode({"name": "x", "email": None})
    assert codec.decode(old, Patch) == Patch(name="x", email=None)
    assert codec.decode(old, Patch).model_fields_set == {"name", "email"}
    everything = Patch(name="x", email="y")
    assert codec.encode(everything, Patch) == codec.encode({"name": "x", "email": "y"})


def test_d7_a_model_that_has_changed_since_still_reads_what_was_set() -> None:
    class Now(pydantic.BaseModel):
        email: str | None = "none"
        added: int = 3

    stored = codec.encode(Patch(name="x"), Patch)
    assert codec.decode(stored, Now) == Now(email=None)
    assert codec.decode(stored, Now).model_fields_set == set()


@pytest.mark.parametrize("extra", ["$type", "$beside"])
def test_d8_an_extra_field_of_a_name_of_ours_is_refused(extra: str) -> None:
    with pytest.raises(NotSerializable, match=r"extra field .\$"):
        codec.encode(Order(**{extra: 1}), Order)


def test_d8_models_in_a_set_are_refused_unless_all_their_fields_were_set() -> None:
    with pytest.raises(NotSerializable, match="a model in a set has fields that were not set"):
        codec.encode(Bag(all={Frozen()}), Bag)


def test_a_strict_model_is_read_as_json() -> None:
    value = Strict(
        at=datetime(2026, 1, 1, tzinfo=UTC),
        day=date(2026, 1, 2),
        id=UUID(int=7),
        items=(1, 2),
        colour=Colour.RED,
    )
    assert told(back(value, Strict)) == told(value)


class Moment(NamedTuple):
    at: datetime


@pydantic.dataclasses.dataclass
class Entry:
    at: datetime


class Diary(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="allow")
    at: datetime
    all: list[datetime] = []
    pair: tuple[int, datetime] | None = None
    named: dict[str, datetime] = {}
    moment: Moment | None = None
    entry: Entry | None = None
    inner: "Diary | None" = None


@pytest.mark.parametrize(
    "at",
    [LATER, LATER.replace(tzinfo=UTC), LATER.replace(tzinfo=ZoneInfo("Europe/Berlin"))],
    ids=["naive", "utc", "zone"],
)
def test_d8_datetimes_in_a_model_keep_their_fold(at: datetime) -> None:
    first = at.replace(fold=0)
    inner = Diary(
        at=first,
        all=[first, at],
        pair=(1, at),
        named={"a": first, "b": at},
        moment=Moment(at),
        entry=Entry(at),
        more=1,
    )
    again = back(Diary(at=at, inner=inner), Diary)
    assert (again.at.fold, again.at.utcoffset()) == (1, at.utcoffset())
    found = again.inner
    moments = (*found.named.values(), found.moment.at, found.entry.at)
    folds = [it.fold for it in (found.at, *found.all, found.pair[1], *moments)]
    assert folds == [0, 0, 1, 1, 0, 1, 1, 1]
    assert type(found.moment) is Moment
    assert type(found.entry) is Entry


class Lying(pydantic.BaseModel):
    x: int
    secret: pydantic.SecretStr = pydantic.SecretStr("")
    kept: int = pydantic.Field(default=0, exclude=True)
    at: datetime = datetime(2026, 1, 1, tzinfo=UTC)
    _private: int = 0

    def __eq__(self, other: object) -> bool:
        return True

    @pydantic.field_validator("x")
    @classmethod
    def grown(cls, x: int) -> int:
        return x + 1 if x > 5 else x


def private() -> Lying:
    value = Lying(x=1)
    value._private = 1
    return value


@pytest.mark.parametrize(
    "value",
    [Lying(x=6), Lying(x=1, secret="s"), Lying(x=1, kept=1), private()],  # type: ignore[arg-type]
)
def test_d8_no_eq_of_users_is_asked(value: Any) -> None:
    with pytest.raises(NotSerializable, match="does not come back equal"):
        codec.encode(value, Lying)
    assert told(back(Lying(x=1), Lying)) == told(Lying(x=1))
