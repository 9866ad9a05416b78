"""`engine.queue`: why a queue does not drain."""

import pytest
import trio
import trio.testing

from stepwell import InvalidConfig, workflow
from stepwell.testing import open_test_engine


def passes(engine, seconds: int) -> None:
    """The test engine's own clock stands still while an attempt runs."""
    core = engine._running().core
    core.advance(core.now() + seconds * 1_000_000)


async def test_the_queue_does_not_drain():
    gate = trio.Event()

    async def render():
        await gate.wait()

    @workflow
    async def video(step):
        await step.do(render, timeout="1 day")

    async with open_test_engine(workflows=[video], slots=10, autojump=False, grace=0) as engine:
        began = engine.clock.now()
        why = await engine.queue(video)
        assert (why.code, why.queued, why.holders) == ("empty", 0, ())
        assert str(why) == 'no instance of "video" is queued.'
        await engine.set_limits(video, concurrency=2, actor="ann", note="it eats memory")
        first = await engine.create(video, id="v-0")
        await trio.testing.wait_all_tasks_blocked()
        passes(engine, 60)
        for n in range(1, 5):
            await engine.create(video, id=f"v-{n}")
        await trio.testing.wait_all_tasks_blocked()
        passes(engine, 3 * 3_600)
        why = await engine.queue("video")
        assert (why.code, why.queued, why.used, why.slots) == ("concurrency", 3, 2, 2)
        assert (why.set_by, why.set_at) == ("ann", began)
        longest = why.holders[0]
        assert (longest.id, longest.since, longest.steps) == ("v-0", began, ("render",))
        assert [it.id for it in why.holders] == ["v-0", "v-1"]
        assert (why.per_minute, why.estimate) == (0.0, None)
        assert "2 of 2 slots of the workflow (concurrency) are in use, set by ann" in str(why)
        assert "video/v-0 has had one since" in str(why)
        assert "in render" in str(why)
        await first.terminate()
        why = await engine.queue(video)
        assert why.queued == 2
        # the window slides by ten seconds
        assert why.per_minute == pytest.approx(1 / 5, rel=0.04)
        assert why.estimate == pytest.approx(2 * 5, rel=0.04)
        assert "about 0.2" in str(why)
        assert "slots come back a minute, so the last starts in about 10 minutes" in str(why)
        passes(engine, 301)
        why = await engine.queue(video)
        assert (why.queued, why.per_minute, why.estimate) == (2, 0.0, None)
        assert "come back a minute" not in str(why)
        await engine.set_limits(video, concurrency=None)
        await engine.set_limits(concurrency=2)
        for n in range(5, 7):
            await engine.create(video, id=f"v-{n}")
        why = await engine.queue(video)
        assert (why.code, why.used, why.slots, why.set_by) == (
            "namespace_concurrency", why.used, 2, None,
        )  # fmt: skip
        assert why.set_at == engine.clock.now()
        with pytest.raises(InvalidConfig, match="no workflow"):
            await engine.queue("audio")
        gate.set()
