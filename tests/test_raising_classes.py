"""Classes of values whose own code raises, whatever it raises: texts say which class, of what, and
what to do (rules D7, R9)."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pydantic
import pytest

from stepwell import (
    InstanceErrored,
    InvalidPayload,
    NotSerializable,
    Retry,
    Step,
    StepwellError,
    workflow,
)
from stepwell._body.runner import Runner
from stepwell.testing import open_test_engine


class Panic(BaseException):
    """As what extensions written in Rust raise."""


KINDS: dict[str, Callable[[], BaseException]] = {
    "ValueError": lambda: ValueError("boom"),
    "SystemExit": lambda: SystemExit("boom"),
    "GeneratorExit": lambda: GeneratorExit("boom"),
    "Panic": lambda: Panic("boom"),
}
raises: list[str] = []


@pytest.fixture(autouse=True)
def _quiet():
    raises.clear()


def check() -> None:
    if raises:
        raise KINDS[raises[0]]()


@dataclass
class Made:
    number: int

    def __post_init__(self) -> None:
        check()


@dataclass
class Read:
    number: int

    def __getattribute__(self, name: str) -> Any:
        if name == "number":
            check()
        return object.__getattribute__(self, name)


class Model(pydantic.BaseModel):
    number: int

    @pydantic.field_validator("number")
    @classmethod
    def checked(cls, number: int) -> int:
        check()
        return number


def made(kind: str, cls: type) -> Any:
    """Returns a value, after whose making its class raises this."""
    raises.clear()
    value = cls(number=1)
    raises.append(kind)
    return value


WRITES = {
    Made: f"would not come back: {__name__}.Made(...) raised",
    Read: f"is a {__name__}.Read, of which a field raised",
    Model: f"is a {__name__}.Model that does not survive",
}
"""What is said of a value that cannot be stored, before what was raised."""
READS = {
    Made: f"is stored, but {__name__}.Made(...) raised",
    Model: f"is stored, but {__name__}.Model.model_validate raised",
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("cls", WRITES)
async def test_d7_a_value_whose_class_raises_is_not_stored_and_the_text_says_what_it_was(cls, kind):
    @workflow(name="outputs")
    async def outputs(step: Step) -> cls:
        return made(kind, cls)

    @workflow(name="steps")
    async def steps(step: Step) -> None:
        await step.do(made, kind, cls, as_type=cls, retry=Retry.never)

    @workflow(name="takes")
    async def takes(step: Step, value: cls) -> None: ...

    async with open_test_engine(workflows=[outputs, steps, takes]) as engine:
        for flow, what in ((outputs, "output"), (steps, "result"), (takes, "params")):
            given = made(kind, cls) if flow is takes else None
            with pytest.raises((InstanceErrored, NotSerializable)) as caught:
                await engine.call(flow, given)
            raises.clear()
            text = str(caught.value)
            assert isinstance(caught.value, NotSerializable) or "NotSerializable: " in text
            assert f"{what} {WRITES[cls]}" in text
            assert "boom" in text
            assert kind in text or kind == "ValueError"  # pydantic tells of that one in its own way
            assert text.endswith(("or pass as_type=.", "plain data.", "or annotate its type."))


@workflow
async def listens(step: Step, name: str) -> str:
    try:
        await step.wait_for_event("e", as_type=globals()[name])
    except InvalidPayload as error:
        return str(error)
    raise AssertionError


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("cls", READS)
async def test_d7_an_event_whose_class_raises_is_told_of_as_a_payload(cls, kind):
    async with open_test_engine(workflows=[listens]) as engine:
        instance = await engine.create(listens, cls.__name__, id="l")
        await instance.wait_for_status("waiting")
        raises.append(kind)
        await instance.send_event("e", {"number": 1})
        text = await instance.result()
        assert text.startswith(f'event "e" of listens/l: payload {READS[cls]} ')
        assert "boom" in text
        assert kind in text or cls is Model


@workflow
async def gives(step: Step) -> Made:
    return Made(1)


@workflow
async def uses(step: Step, value: Made) -> None:
    await step.wait_for_event("go")


@workflow
async def asks(step: Step) -> None:
    await step.wait_for_approval("a", as_type=Made)


@pytest.mark.parametrize("kind", KINDS)
async def test_d7_params_and_approvals_whose_class_raises_block_and_are_told_of_as_what_they_are(
    kind,
):
    async with open_test_engine(workflows=[gives, uses, asks]) as engine:
        user, asker = await engine.create(uses, Made(1), id="u"), await engine.create(asks, id="a")
        await user.wait_for_status("waiting")
        await asker.wait_for_status("waiting")
        raises.append(kind)
        await engine.approvals.approve(
            (await engine.approvals.list("asks")).items[0].id, by="me", metadata={"number": 1}
        )
        await asker.wait_for_status("blocked")
        assert f"cannot read: metadata {READS[Made]} {kind}: boom" in (await asker.explain()).text
        await engine.crash()
        await user.wait_for_status("blocked")
        assert f"cannot read: params {READS[Made]} {kind}: boom" in (await user.explain()).text


@pytest.mark.parametrize("kind", KINDS)
async def test_d7_an_output_whose_class_raises_is_told_of_as_an_output(kind):
    @workflow(name="calls")
    async def calls(step: Step) -> None:
        child = await step.create(gives, id="child")
        await step.wait_for_event("go")
        await child.result()

    async with open_test_engine(workflows=[gives, calls]) as engine:
        instance = await engine.create(calls, id="c")
        await instance.wait_for_status("waiting")
        child = await engine.get(gives, "child")
        await child.result()
        raises.append(kind)
        with pytest.raises(StepwellError, match=re.escape(f"output {READS[Made]} {kind}: boom")):
            await child.result()
        await instance.send_event("go")
        await instance.wait_for_status("blocked")
        assert f"cannot read: output {READS[Made]} {kind}: boom" in (await instance.explain()).text


@workflow
async def plain(step: Step) -> None: ...


async def test_r9_what_escapes_to_the_engine_is_told_of_with_its_class(monkeypatch):
    def finish(*_: object, **__: object) -> None:
        raise SystemExit(4)

    monkeypatch.setattr(Runner, "_finish", finish)
    async with open_test_engine(workflows=[plain]) as engine:
        instance = await engine.create(plain, id="h")
        await instance.wait_for_status("blocked")
        text = (await instance.explain()).text
        assert text.startswith(
            "plain/h is blocked (internal): SystemExit: 4 was raised while the "
            "engine worked for plain/h"
        )
        assert "then resume()" in text
