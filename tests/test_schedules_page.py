"""What docs/schedules.md shows, as it stands there."""

import re
import textwrap
from datetime import timedelta
from pathlib import Path

from stepwell import workflow
from stepwell.testing import open_test_engine

PAGE = (Path(__file__).parent.parent / "docs" / "schedules.md").read_text()
EXAMPLES = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


@workflow
async def report(step, what):
    return f"{what} of {step.instance.schedule}"


async def run(example, scope):
    """Runs it as a part of one function; what it names stays."""
    body = textwrap.indent(example, "    ")
    exec(compile(f"async def part():\n{body}\n    return locals()", "schedules.md", "exec"), scope)
    scope.update(await scope["part"]())


async def test_the_page_shows_what_happens(capsys):
    async with open_test_engine(workflows=[report], autojump=False) as engine:
        start = engine.clock.now()
        scope = {"engine": engine, "report": report, "start": start}
        puts, firings, by_hand = EXAMPLES
        await run(puts, scope)
        await engine.clock.advance("2 days")
        await run(firings, scope)
        first, second = capsys.readouterr().out.splitlines()
        assert first.endswith("fired None nightly-report@2030-01-02T01:00:00Z")
        assert second.endswith("fired None nightly-report@2030-01-01T01:00:00Z")
        [newest, _] = (await engine.list(schedule="nightly-report")).items
        done = await engine.get(report, newest.id)
        assert await done.result() == "sales of nightly-report"
        scope |= {"start": start - timedelta(days=3), "end": start}
        await run(by_hand, scope)
        assert await scope["instance"].result() == "sales of nightly-report"
        assert len(list(scope["preview"])) == 3
        assert len((await engine.list(schedule="nightly-report", limit=100)).items) == 6
        assert await engine.schedules() == []
        assert capsys.readouterr().out.startswith("nightly-report report 2030-01-03 ")
        told = {it.operation: (it.actor, it.note) for it in await engine.audit()}
        assert told["pause_schedule"] == ("ann", "the source is down")
        assert {"trigger_schedule", "backfill_schedule", "delete_schedule"} <= told.keys()
