"""Which context code runs in, and what of it comes back (rule I12)."""

from contextvars import ContextVar

from stepwell import workflow
from stepwell.testing import open_test_engine

tenant: ContextVar[str] = ContextVar("tenant", default="none")


async def sets_it_async() -> str:
    before = tenant.get()
    tenant.set("from the step")
    return before


def sets_it_in_a_thread() -> str:
    before = tenant.get()
    tenant.set("from the thread")
    return before


@workflow
async def in_context(step):
    seen = [tenant.get()]
    tenant.set("body")
    seen += [
        await step.do(sets_it_async),
        tenant.get(),
        await step.do(sets_it_in_a_thread),
        tenant.get(),
    ]
    seen += await step.map(lambda _: sets_it_in_a_thread(), [1], name="mapped")
    async with step.open_nursery() as nursery:
        branch = nursery.start_soon(step.do, sets_it_async)
    return [*seen, branch.value, tenant.get()]


async def test_i12_a_step_runs_in_a_copy_of_the_bodys_context_and_nothing_comes_back():
    async with open_test_engine(workflows=[in_context]) as engine:
        assert await engine.call(in_context) == [
            "none",
            "body",
            "body",
            "body",
            "body",
            "body",
            "body",
            "body",
        ]


async def test_i12_a_body_runs_in_a_copy_of_the_context_in_which_the_engine_was_opened():
    token = tenant.set("engine")
    try:
        async with open_test_engine(workflows=[in_context]) as engine:
            tenant.set("caller")
            for _ in range(2):
                assert (await engine.call(in_context))[0] == "engine"
            assert tenant.get() == "caller"
    finally:
        tenant.reset(token)


async def test_i12_after_a_crash_the_body_runs_in_that_context_again():
    @workflow(name="waits")
    async def waits(step):
        first = tenant.get()
        await step.wait_for_event("go")
        return [first, tenant.get()]

    token = tenant.set("engine")
    try:
        async with open_test_engine(workflows=[waits], autojump=False) as engine:
            tenant.set("caller")
            instance = await engine.create(waits)
            await instance.wait_for_status("waiting")
            await engine.crash()
            await instance.send_event("go")
            assert await instance.result() == ["engine", "engine"]
    finally:
        tenant.reset(token)
