"""What a program hangs on the engine's log may fail, and nothing else fails for that (R9)."""

import logging

import pytest

from stepwell import Retry, Step, StepFailed, workflow
from stepwell.testing import open_test_engine


class Unreachable(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        raise ConnectionError("the log's server is down")


def _unreachable(record: logging.LogRecord) -> bool:
    raise ConnectionError("the log's server is down")


@pytest.fixture(params=["handler", "filter"])
def _broken_log(request):
    logger = logging.getLogger("stepwell")
    body = logging.getLogger("stepwell.workflow")
    body.setLevel(logging.INFO)
    if request.param == "handler":
        handler = Unreachable()
        logger.addHandler(handler)
        yield
        logger.removeHandler(handler)
    else:
        logger.addFilter(_unreachable)
        body.addFilter(_unreachable)
        yield
        logger.removeFilter(_unreachable)
        body.removeFilter(_unreachable)
    body.setLevel(logging.NOTSET)


def boom() -> None:
    raise ValueError("boom")


@pytest.mark.usefixtures("_broken_log")
@pytest.mark.parametrize("runtime", ["trio", "asyncio"])
async def test_r9_a_log_that_raises_changes_no_outcome(runtime, capsys):
    seen: list[str] = []

    @workflow(runtime=runtime)
    async def flow(step: Step) -> None:
        step.log.info("begins")
        try:
            await step.do(boom, retry=Retry(limit=1, delay=0))
        except StepFailed as error:
            seen.append(str(error))
        await step.do(str)
        await step.wait_for_event("go")
        raise LookupError("the end")

    async with open_test_engine(workflows=[flow], autojump=False) as engine:
        instance = await engine.create(flow, id="i")
        await instance.wait_for_step("str")
        await engine.crash()
        await instance.send_event("go")
        await instance.wait_for_status("errored")
        text = str(await instance.explain())
        assert text.startswith("flow/i is errored: LookupError: the end. restart(")
    assert seen == ['step "boom" failed after 2 attempts: ValueError: boom'] * 2
    told = capsys.readouterr().err
    for what in (
        "begins",
        "attempt 1 of step 'boom' of flow/i failed; the next one comes in",
        "flow/i failed",
    ):
        assert f"kept this from the log: {what}" in told


@pytest.mark.usefixtures("_broken_log")
async def test_r9_a_log_that_raises_keeps_no_instance_from_being_blocked():
    @workflow
    async def flow(step: Step) -> None:
        await step.do(int, name="before" if first else "after")
        await step.wait_for_event("go")

    first = True
    async with open_test_engine(workflows=[flow], autojump=False) as engine:
        instance = await engine.create(flow, id="i")
        await instance.wait_for_status("waiting")
        first = False
        await engine.crash()
        await instance.send_event("go")
        assert await instance.wait_for_status("blocked", "complete") == "blocked"


async def test_a_log_record_names_the_line_that_says_it(caplog):
    @workflow
    async def flow(step: Step) -> None:
        step.log.warning("here")
        await step.do(boom, retry=Retry.never)

    async with open_test_engine(workflows=[flow], autojump=False) as engine:
        await (await engine.create(flow)).wait_for_status("errored")
    where = {record.getMessage().partition(" ")[0]: record.filename for record in caplog.records}
    assert (where["here"], where["attempt"]) == ("test_log.py", "step_records.py")
