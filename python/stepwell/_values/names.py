"""What names, ids, attributes and counts may look like, checked before anything is written (Q1).

Each check returns its argument, so that it can be used in place, and says what is wrong, where, and
what would be right. Patterns match the whole string: a trailing newline is not part of any name.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import TypeAlias

from .._core import PRIORITY_MAX
from .._errors import InvalidConfig, InvalidName

AttributeValue: TypeAlias = str | int | float | bool

STEP_NAME_MAX = 256
ATTRIBUTES_MAX = 32
ATTRIBUTE_KEY_MAX = 64
ATTRIBUTES_BYTES_MAX = 4096
BATCH_MAX = 10_000
PAGE_MAX = 1_000
NOTE_MAX = 4_096

_WORKFLOW = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,63}")
_ID = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:@/+-]{0,99}")
_EVENT = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}")
# C0, DEL and C1; surrogates cannot be stored as UTF-8.
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")


def _match(pattern: re.Pattern[str], value: object, what: str, rule: str) -> str:
    if isinstance(value, str) and pattern.fullmatch(value):
        return value
    raise InvalidName(f"{what} {_shown(value)} is not valid: {rule}")


def _shown(value: object) -> str:
    if not isinstance(value, str):
        return f"{value!r:.120} ({type(value).__qualname__})"
    return repr(value) if len(value) <= 120 else f"{value[:100]!r}… ({len(value)} characters)"


def workflow_name(value: object, what: str = "workflow name") -> str:
    """Returns a workflow's or namespace's name. Raises InvalidName."""
    advice = ". Pass name= to @workflow" if what == "workflow name" else ""
    return _match(
        _WORKFLOW, value, what, f"1 to 64 letters, digits, _ or -, not beginning with -{advice}"
    )


def instance_id(value: object, what: str = "instance id") -> str:
    """Returns an instance id, agent name or schedule id (say which as `what`). Raises
    InvalidName."""
    return _match(
        _ID,
        value,
        what,
        "1 to 100 letters, digits or _.:@/+-, beginning with a letter, a digit or _",
    )


def event_type(value: object) -> str:
    """Returns an event type. Raises InvalidName."""
    return _match(
        _EVENT,
        value,
        "event type",
        "1 to 100 letters, digits or _.-, beginning with a letter, a digit or _",
    )


def wait_name(types: Sequence[str]) -> str:
    """Returns the name of a wait for events of these types that was given none."""
    return "|".join(types)[:STEP_NAME_MAX]


def any_of(types: Sequence[str]) -> str:
    """Returns event types as a person would name them, of which any will do."""
    return " or ".join(f'"{it}"' for it in types)


def step_name(value: object, what: str = "step name") -> str:
    """Returns a step's name or key (say which as `what`): 1 to 256 characters, none of them control
    characters.

    Raises:
        InvalidName: It is not.
    """
    if (
        isinstance(value, str)
        and 0 < len(value) <= STEP_NAME_MAX
        and not _UNPRINTABLE.search(value)
    ):
        return value
    raise InvalidName(
        f"{what} {_shown(value)} is not valid: 1 to {STEP_NAME_MAX} characters, no "
        "control characters"
    )


def whole(value: object, low: int, high: int, what: str, advice: str = "") -> int:
    """Returns a whole number from `low` to `high`. Raises InvalidConfig."""
    if isinstance(value, int) and not isinstance(value, bool) and low <= value <= high:
        return value
    raise InvalidConfig(
        f"{what}={value!r:.120} is not a whole number from {low:,} to {high:,}{advice}"
    )


def flag(value: object, what: str) -> bool:
    """Returns True or False. Raises InvalidConfig."""
    if isinstance(value, bool):
        return value
    raise InvalidConfig(f"{what} is {value!r:.120}; give True or False.")


def priority(value: object) -> int:
    """Returns a priority, -100 to 100; higher goes first. Raises InvalidConfig."""
    return whole(value, -PRIORITY_MAX, PRIORITY_MAX, "priority", "; higher goes first")


def sought(value: object, what: str) -> str | None:
    """Returns a text to look for, which may name nothing; None: anything. Raises InvalidConfig."""
    if value is None:
        return None
    if not isinstance(value, str) or (
        not value.isascii() and any("\ud800" <= it <= "\udfff" for it in value)
    ):
        raise InvalidConfig(
            f"{what}={_shown(value)} is no text that anything could be called; "
            "give a str, or leave it out."
        )
    return value


def actor(value: object, what: str = "actor") -> str | None:
    """Returns who does something, as they say: 1 to 256 characters, none of them control
    characters. Raises InvalidName."""
    return None if value is None else step_name(value, what)


def note(value: object) -> str | None:
    """Returns what somebody says to what they do: text of at most 4,096 characters. Raises
    InvalidConfig."""
    if value is None:
        return None
    if not isinstance(value, str) or re.search("[\ud800-\udfff]", value):
        raise InvalidConfig(f"note={_shown(value)} is not text. Pass a str, or leave it out")
    if len(value) > NOTE_MAX:
        raise InvalidConfig(
            f"note of {len(value):,} characters is too long: at most {NOTE_MAX:,}. Say where the "
            "rest is"
        )
    return value


def page_limit(value: object) -> int:
    """Returns how many rows of a list to give, 1 to 1,000. Raises InvalidConfig."""
    return whole(value, 1, PAGE_MAX, "limit", ". For more, pass the page's cursor")


def check_batch(items: object) -> None:
    """Checks that these are 1 to 10,000 items, in an order. Raises InvalidConfig."""
    if isinstance(items, set | frozenset):
        raise InvalidConfig(
            "items is a set, whose order is another one in every process. Pass a list: sorted(...)"
        )
    if not isinstance(items, Sequence) or isinstance(items, str | bytes):
        raise InvalidConfig(
            f"items={items!r:.120} is not a sequence. Pass a list of params or NewInstance"
        )
    batch_size(len(items))


def batch_size(value: int) -> int:
    """Returns how many items a batch has, 1 to 10,000. Raises InvalidConfig."""
    return whole(
        value,
        1,
        BATCH_MAX,
        "number of items",
        ". Split the batch" if value else ": there is nothing to create",
    )


def attributes(value: Mapping[str, AttributeValue] | None) -> dict[str, AttributeValue]:
    """Returns an instance's attributes as a dict of its own.

    Args:
        value: At most 32; keys of 1 to 64 characters; values str, int (64 bits), float (finite) or
            bool; 4 KiB of UTF-8 together, a number counting 8 bytes.

    Raises:
        InvalidConfig: They are not.
    """
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise InvalidConfig(f"attributes={value!r:.120} is not a dict")
    if len(value) > ATTRIBUTES_MAX:
        raise InvalidConfig(f"{len(value)} attributes are too many: at most {ATTRIBUTES_MAX}")
    size = 0
    checked: dict[str, AttributeValue] = {}
    for key, item in value.items():
        if not (isinstance(key, str) and 0 < len(key) <= ATTRIBUTE_KEY_MAX) or _UNPRINTABLE.search(
            key
        ):
            raise InvalidConfig(
                f"attribute key {_shown(key)} is not valid: 1 to "
                f"{ATTRIBUTE_KEY_MAX} characters, no control characters"
            )
        checked[key] = _attribute(key, item)
        size += len(key.encode()) + (len(item.encode()) if isinstance(item, str) else 8)
    if size > ATTRIBUTES_BYTES_MAX:
        raise InvalidConfig(
            f"attributes of {size:,} bytes are too large: at most {ATTRIBUTES_BYTES_MAX:,} "
            "together. Put the rest in params"
        )
    return checked


def _attribute(key: str, value: object) -> AttributeValue:
    if type(value) is bool:
        return value
    if type(value) is int and -(2**63) <= value < 2**63:
        return value
    if type(value) is float and math.isfinite(value):
        return value
    if type(value) is str and not re.search("[\ud800-\udfff]", value):
        return value
    raise InvalidConfig(
        f"attribute {key!r}={value!r:.120} is not valid: a str, an int of 64 bits, "
        "a finite float or a bool"
    )
