"""What is stored is checked against its declared class, and against today's class when it is read
(rules D4, D7)."""

import enum
from dataclasses import dataclass, make_dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import trio
from formats import of_format

from stepwell import (
    InstanceErrored,
    InvalidConfig,
    InvalidPayload,
    NotSerializable,
    Retry,
    Status,
    StepFailed,
    StepwellError,
    TooLarge,
    step_options,
    workflow,
)
from stepwell.testing import open_test_engine

HERE = Path(__file__).name


class Colour(enum.Enum):
    RED = "red"


@dataclass
class Card:
    owner: str
    limit: float = 1.5


async def gives_int_for_float() -> float:
    return 3


async def gives_str_for_int() -> int:
    return "3"  # type: ignore[return-value]


async def gives_card_without_annotation():
    return Card("a")


async def gives_member_of_union() -> int | Card:
    return Card("u", 2)


async def gives_a_set() -> set[int]:
    return {1, 2}


async def test_d7_an_int_passes_for_a_float_and_a_union_gives_its_member_back():
    @workflow(name="ok")
    async def ok(step):
        number = await step.do(gives_int_for_float)
        member = await step.do(gives_member_of_union)
        return [number, type(member).__name__, member.limit, sorted(await step.do(gives_a_set))]

    async with open_test_engine(workflows=[ok]) as engine:
        assert await engine.call(ok) == [3, "Card", 2, [1, 2]]


@pytest.mark.parametrize(
    ("fn", "says"),
    [
        (gives_str_for_int, ["gives_str_for_int", "result", "str", "int", "bad/i"]),
        (
            gives_card_without_annotation,
            ["gives_card_without_annotation", "Card", "annotat", "as_type="],
        ),
    ],
)
async def test_d7_a_result_of_another_class_ends_the_step_at_once_and_says_what_to_do(fn, says):
    @workflow(name="bad")
    async def bad(step):
        try:
            await step.do(fn)
        except NotSerializable as error:
            return [str(error), isinstance(error, StepFailed), error.attempts]

    async with open_test_engine(workflows=[bad]) as engine:
        text, failed, attempts = await engine.call(bad, id="i")
    assert (failed, attempts) == (True, 1)
    for word in says:
        assert word in text


async def test_d4_the_body_gets_the_decoded_value_and_not_the_object_that_the_step_made():
    made: list[Any] = []

    async def makes() -> list[Any]:
        made.append([1, {"a": (2, 3)}])
        return made[0]

    @workflow(name="decoded")
    async def decoded(step):
        value = await step.do(makes)
        assert value is not made[0]
        value.append("changed by the body")
        await step.wait_for_event("go")
        return [value, made[0]]

    async with open_test_engine(workflows=[decoded]) as engine:
        instance = await engine.create(decoded)
        await instance.send_event("go")
        value, original = await instance.result()
        assert value == [1, {"a": [2, 3]}, "changed by the body"]
        assert original == [1, {"a": [2, 3]}]
        assert (await instance.history())[0].output == [1, {"a": [2, 3]}]


def shop_with(cls: type, version_of_code: list[str]):
    async def loads() -> cls:
        version_of_code.append("loaded")
        return cls("a", 1)

    loads.__annotations__["return"] = cls

    @workflow(name="shop")
    async def shop(step):
        item = await step.do(loads, name="load")
        await step.wait_for_event("go")
        return [getattr(item, name) for name in vars(item)]

    return shop


Old = make_dataclass("Item", [("name", str), ("count", int)])
Grown = make_dataclass("Item", [("name", str), ("count", int), ("tag", str, "none")])
Shrunk = make_dataclass("Item", [("name", str)])
Other = make_dataclass("Item", [("name", str), ("count", dict[str, int])])


async def run_with_two_classes(tmp_path, after: type):
    store, runs = str(tmp_path / "s.db"), []
    async with open_test_engine(
        workflows=[shop_with(Old, runs)], store=store, autojump=False
    ) as engine:
        instance = await engine.create("shop", id="s")
        await instance.wait_for_status("waiting")
    async with open_test_engine(
        workflows=[shop_with(after, runs)], store=store, autojump=False
    ) as engine:
        instance = await engine.get("shop", "s")
        await instance.send_event("go")
        status = await instance.wait_for_status("complete", "blocked")
        full, why = await instance.status(), await instance.explain()
    assert runs == ["loaded"]
    return status, full, why


async def test_d7_missing_fields_take_their_defaults(tmp_path):
    status, full, _ = await run_with_two_classes(tmp_path, Grown)
    assert (status, full.output) == (Status.COMPLETE, ["a", 1, "none"])


async def test_d7_unknown_fields_are_ignored(tmp_path):
    status, full, _ = await run_with_two_classes(tmp_path, Shrunk)
    assert (status, full.output) == (Status.COMPLETE, ["a"])


async def test_d7_a_stored_value_that_cannot_become_todays_type_blocks_naming_path_and_types(
    tmp_path,
):
    status, full, why = await run_with_two_classes(tmp_path, Other)
    assert status is Status.BLOCKED
    for text in (str(why), full.error.message):
        for word in ('"load"', "count", "int", "dict"):
            assert word in text


async def test_d7_a_stored_value_of_another_type_goes_on_after_the_fix(tmp_path):
    store, runs = str(tmp_path / "s.db"), []
    for cls in (Old, Other, Old):
        async with open_test_engine(
            workflows=[shop_with(cls, runs)], store=store, autojump=False
        ) as engine:
            instance = await (
                engine.create("shop", id="s") if not runs else engine.get("shop", "s")
            )
            if cls is Other:
                await instance.send_event("go")
                await instance.wait_for_status("blocked")
            else:
                await instance.resume()
                await instance.wait_for_status("waiting", "complete")
    async with open_test_engine(workflows=[shop_with(Old, runs)], store=store) as engine:
        assert await (await engine.get("shop", "s")).result() == ["a", 1]
    assert runs == ["loaded"]


async def test_d7_an_event_of_another_type_is_consumed_and_raises_with_its_raw_payload():
    @workflow(name="listens")
    async def listens(step):
        try:
            await step.wait_for_event("card", as_type=Card)
        except InvalidPayload as error:
            return [
                str(error),
                error.payload,
                (await step.wait_for_event("card", as_type=Card)).payload.owner,
            ]

    async with open_test_engine(workflows=[listens]) as engine:
        instance = await engine.create(listens, id="l")
        await instance.send_event("card", {"owner": 5})
        await instance.send_event("card", {"owner": "b"})
        text, raw, owner = await instance.result()
        assert 'event "card" of listens/l' in text
        assert "owner" in text
        assert (raw, owner) == ({"owner": 5}, "b")


@workflow
async def takes_many(step, wanted: list[str]) -> list:
    types = {"int": int, "list": list[int], "optional": int | None, "any": None}
    seen = []
    for name in wanted:
        try:
            event = await step.wait_for_event("card", as_type=types[name])
        except InvalidPayload as error:
            seen.append([str(error), error.payload])
        else:
            seen.append(event.payload)
    await step.wait_for_event("go")
    return seen


@pytest.mark.parametrize("crashes", [False, True])
@pytest.mark.parametrize("format", [2, 3])
async def test_d7_an_event_without_a_payload_is_judged_as_none_is(format, crashes, monkeypatch):
    """But not for instances whose bodies went on from it before that was so."""
    of_format(format, monkeypatch)
    async with open_test_engine(workflows=[takes_many], autojump=False) as engine:
        instance = await engine.create(
            takes_many, ["int", "list", "optional", "any", "int"], id="t"
        )
        for _ in range(4):
            await instance.send_event("card")
        await instance.send_event("card", 5)
        await instance.wait_for_step("card", count=5)
        if crashes:
            await instance.wait_for_status("waiting")
            await engine.crash()
        await instance.send_event("go")
        seen = await instance.result()
    text = 'event "card" of takes_many/t: payload is stored as null, and cannot become '
    unfit = [[f"{text}int", None], [f"{text}list[int]", None]]
    assert seen == [*([None, None] if format == 2 else unfit), None, None, 5]


def takes(as_type):
    @workflow(name="takes")
    async def takes(step):
        try:
            event = await step.wait_for_event("card", as_type=as_type)
        except InvalidPayload as error:
            return [str(error), (await step.wait_for_event("go", name="after")).payload]
        return [event.payload, (await step.wait_for_event("go", name="after")).payload]

    return takes


async def waits_after(instance) -> None:
    while "after" not in str((await instance.status()).waiting_on):
        await trio.lowlevel.checkpoint()


@pytest.mark.parametrize("later", [int, str, bytes])
@pytest.mark.parametrize("parks", [False, True])
async def test_d7_an_event_that_did_not_fit_is_told_as_such_in_every_life(tmp_path, parks, later):
    """Whatever fits later: the body has gone its way."""
    store = str(tmp_path / "s.db")
    async with open_test_engine(workflows=[takes(int)], store=store, autojump=False) as engine:
        instance = await engine.create("takes", id="t")
        await instance.wait_for_status("waiting")
        if parks:
            await engine.clock.advance("1 hour")
        await instance.send_event("card", "text")
        await instance.wait_for_step("card")
        await waits_after(instance)
        await engine.crash()
    async with open_test_engine(workflows=[takes(later)], store=store, autojump=False) as engine:
        instance = await engine.get("takes", "t")
        await instance.send_event("go", 7)
        unfit = "event \"card\" of takes/t: payload is stored as str 'text', and cannot become int"
        assert await instance.result() == [unfit, 7]
        told = [(it.name, it.status, it.output) for it in await instance.history()]
    assert ("card", "done", "text") in told
    assert any(
        name == "card" and status == "saved" and "does not fit: payload is stored as str" in output
        for name, status, output in told
    )


@pytest.mark.parametrize("payload", [5, None])
async def test_d7_an_event_that_fitted_and_fits_no_more_blocks_until_the_type_is_restored(
    tmp_path, payload
):
    store, old = str(tmp_path / "s.db"), takes(int | None)
    async with open_test_engine(workflows=[old], store=store, autojump=False) as engine:
        instance = await engine.create("takes", id="t")
        await instance.send_event("card", payload)
        await waits_after(instance)
    async with open_test_engine(workflows=[takes(str)], store=store, autojump=False) as engine:
        instance = await engine.get("takes", "t")
        await instance.send_event("go", 7)
        await instance.wait_for_status("blocked")
        why = await instance.explain()
        assert (
            why.code,
            'event "card" of takes/t' in why.text,
            "Restore the type" in why.text,
        ) == ("undecodable", True, True)
    async with open_test_engine(workflows=[old], store=store, autojump=False) as engine:
        instance = await engine.get("takes", "t")
        await instance.resume()
        assert await instance.result() == [payload, 7]


async def test_an_output_that_cannot_be_stored_errors_the_instance_and_says_where():
    @workflow(name="bad_output")
    async def bad_output(step):
        return {"pages": [1, object()]}

    async with open_test_engine(workflows=[bad_output]) as engine:
        with pytest.raises(
            InstanceErrored,
            match=r"bad_output/i .*cannot be stored.*output\[.pages.\]\[1\].*object",
        ):
            await engine.call(bad_output, id="i")


async def test_what_a_body_catches_of_a_result_that_cannot_be_stored_has_its_attributes():
    async def gives(value):
        return value if value else object()

    @workflow(name="asks")
    async def asks(step):
        try:
            await step.do(gives, 0)
        except NotSerializable as error:
            path = error.path
        try:
            await step.do(gives, "x" * (1 << 20))
        except TooLarge as error:
            return [path, error.limit, error.size]

    async with open_test_engine(workflows=[asks]) as engine:
        assert await engine.call(asks) == ["result", 1 << 20, (1 << 20) + 5]


async def test_a_step_that_gives_something_unstorable_is_not_tried_again():
    runs = []

    async def gives_an_object():
        runs.append(1)
        return {"pages": [0, 1, 2, object()]}

    @workflow(name="unstorable")
    async def unstorable(step):
        await step.do(gives_an_object, retry=Retry(limit=5))

    async with open_test_engine(workflows=[unstorable]) as engine:
        with pytest.raises(InstanceErrored) as caught:
            await engine.call(unstorable, id="i")
    assert runs == [1]
    for part in (
        'step "gives_an_object" of unstorable/i',
        'result["pages"][3]',
        "object",
        "as_type=",
    ):
        assert part in str(caught.value)


async def test_i10_a_body_that_catches_everything_never_sees_that_a_stored_value_is_unreadable(
    tmp_path,
):
    store, caught = str(tmp_path / "s.db"), []

    def catcher(cls: type):
        async def loads(_: int = 0) -> cls:
            return Old("a", 1)

        loads.__annotations__["return"] = cls

        @workflow(name="catcher")
        async def catcher(step, how: str):
            try:
                if how == "map":
                    await step.map(loads, [0], name="load", as_type=cls)
                elif how == "nursery":
                    async with step.open_nursery() as nursery:
                        nursery.start_soon(lambda: step.do(loads, name="load", as_type=cls))
                else:
                    await step.do(loads, name="load", as_type=cls)
            except Exception as error:
                caught.append(error)
            await step.wait_for_event("go")

        return catcher

    hows = ["do", "map", "nursery"]
    async with open_test_engine(workflows=[catcher(Old)], store=store, autojump=False) as engine:
        for how in hows:
            await (await engine.create("catcher", how, id=how)).wait_for_status("waiting")
    assert caught == []
    async with open_test_engine(workflows=[catcher(Other)], store=store, autojump=False) as engine:
        for how in hows:
            instance = await engine.get("catcher", how)
            await instance.send_event("go")
            await instance.wait_for_status("blocked")
            assert '"load"' in str(await instance.explain())
            assert (await instance.status()).status is Status.BLOCKED
    assert caught == []


class Handle:
    """Nothing that can be stored."""


@dataclass
class Unmade:
    x: int

    def __init__(self, other: int) -> None:
        self.x = other


async def opens() -> Handle:
    ran.append("opens")
    return Handle()


def opens_in_a_thread() -> Handle:
    ran.append("opens")
    return Handle()


async def makes() -> Unmade:
    ran.append("makes")
    return Unmade(1)


ran: list[str] = []


@pytest.fixture(autouse=True)
def _nothing_ran():
    ran.clear()


@pytest.mark.parametrize("fn", [opens, opens_in_a_thread, makes])
@pytest.mark.parametrize("method", ["do", "map", "branch"])
@pytest.mark.parametrize("runtime", ["trio", "asyncio"])
async def test_d8_a_step_whose_result_can_never_be_stored_is_refused_before_it_runs(
    fn, method, runtime
):
    @workflow(name="refused")
    async def refused(step):
        try:
            if method == "do":
                await step.do(fn, runtime=runtime)
            elif method == "map":
                await step.map(
                    lambda _: fn(),
                    [1],
                    name="m",
                    as_type=fn.__annotations__["return"],
                    runtime=runtime,
                )
            else:
                async with step.open_nursery() as nursery:
                    nursery.start_soon(lambda: step.do(fn, runtime=runtime))
        except* (NotSerializable, InvalidConfig) as group:
            error = group.exceptions[0]
            while isinstance(error, ExceptionGroup):
                error = error.exceptions[0]
            said.append(str(error))

    said: list[str] = []
    async with open_test_engine(workflows=[refused]) as engine:
        instance = await engine.create(refused)
        await instance.result()
        await engine.crash()
        records = await instance.history()
    assert ran == []
    assert len(said) == 1
    assert " at 0x" not in said[0]  # it is recorded
    why = (
        ("Unmade has an __init__ that needs other")
        if fn is makes
        else "Handle is not a type that can be stored"
    )
    assert (
        "as_type="
        if method == "map"
        else f" was not run, because nothing it returns could be stored: test_stored_types.{why}"
    ) in said[0]
    # `map` refused its option
    assert [record.attempt for record in records] == ([] if method == "map" else [1])


@pytest.mark.parametrize(
    "bad", [5, "Nope", Handle, Unmade, [int], bytearray, tuple[int, Handle], opens, {}]
)
@pytest.mark.parametrize(
    "where", ["do", "map", "wait_for_event", "wait_for_approval", "step_options"]
)
async def test_an_as_type_that_cannot_be_used_is_refused_where_it_is_given(bad, where):
    @workflow(name="w")
    async def w(step):
        if where == "do":
            await step.do(opens, as_type=bad)
        elif where == "map":
            await step.map(opens, [1], as_type=bad)
        else:
            await getattr(step, where)("x", as_type=bad)

    if where == "step_options":
        with pytest.raises(
            InvalidConfig, match=r"as_type=.* cannot be used: .* Give a type that can be stored"
        ):
            step_options(as_type=bad)
        return
    async with open_test_engine(workflows=[w]) as engine:
        with pytest.raises(
            InstanceErrored, match=r"as_type=.* cannot be used: .* Give a type that can be stored"
        ):
            await engine.call(w)
    assert ran == []


@pytest.mark.parametrize(
    ("value", "declared"),
    [
        (Card("a"), "Card"),
        ([Card("a")], "list[Card]"),
        ([1, Card("a")], "list[Card]"),
        ({"x": Card("a")}, "dict[str, Card]"),
        ({1: [Card("a")]}, "dict[int, list[Card]]"),
        ((Card("a"),), "tuple[Card, ...]"),
    ],
)
async def test_the_advice_names_the_annotation_of_the_whole_value(value, declared):
    async def gives():
        return value

    @workflow(name="w")
    async def w(step, _: Any = None):
        await step.do(gives, retry=Retry.never)

    @workflow(name="out")
    async def out(step):
        return value

    async with open_test_engine(workflows=[w, out]) as engine:
        for call, advice in (
            (engine.call(w), f"Annotate it as {declared}, or pass as_type={declared}."),
            (engine.call(out), f"Annotate what the workflow returns as {declared}."),
            (engine.call(w, value), f"Annotate the workflow's params as {declared}."),
        ):
            with pytest.raises(StepwellError) as caught:
                await call
            assert advice in str(caught.value)
        instance = await engine.create(w)
        with pytest.raises(NotSerializable, match="Pass plain data, which needs no annotation"):
            await instance.send_event("x", value)


@pytest.mark.parametrize("runtime", ["trio", "asyncio"])
async def test_d7_params_that_cannot_be_read_name_the_workflow_and_not_whoever_runs_the_loop(
    tmp_path, runtime
):
    def takes_params(kind):
        @workflow(name="begins", runtime=runtime)
        async def begins(step, params: kind) -> Any:
            return params

        return begins

    store, soon = str(tmp_path / "s.db"), datetime(2030, 1, 1, 1, tzinfo=UTC)
    async with open_test_engine([takes_params(int)], store=store, autojump=False) as engine:
        await engine.create("begins", 5, id="b", start_at=soon)
    new = takes_params(str)
    async with open_test_engine([new], store=store, autojump=False) as engine:
        await engine.clock.advance("1 hour")
        instance = await engine.get(new, "b")
        await instance.wait_for_status("blocked")
        line = new.fn.__code__.co_firstlineno
        text = f"the start of begins/b has a stored value that today's code at {HERE}:{line} cannot"
        assert text in (await instance.explain()).text
