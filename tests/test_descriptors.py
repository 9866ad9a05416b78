"""What an engine has open it gives back when its block ends, not when Python next looks for
garbage."""

import subprocess
import sys

import pytest

PROGRAM = """
import asyncio, gc, resource, sys, trio
from stepwell import Engine, aio, sync, workflow
gc.disable()
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))

@workflow
async def echo(step, params):
    return params

async def on_trio(store):
    async with Engine(store, workflows=[echo]) as engine:
        return await engine.call(echo, 1)

async def on_asyncio(store):
    async with aio.Engine(store, workflows=[echo]) as engine:
        return await engine.call(echo, 1)

def blocking(store):
    with sync.Engine(store, workflows=[echo]) as engine:
        return engine.call(echo, 1)

front = {
    "trio": lambda store: trio.run(on_trio, store),
    "asyncio": lambda store: asyncio.run(on_asyncio(store)),
    "blocking": blocking,
}[sys.argv[1]]
for _ in range(200):
    assert front(sys.argv[2]) == 1
"""


@pytest.mark.slow
@pytest.mark.parametrize("front", ["trio", "asyncio", "blocking"])
def test_two_hundred_openings_need_no_more_descriptors_than_one(tmp_path, front):
    subprocess.run(
        [sys.executable, "-c", PROGRAM, front, str(tmp_path / "s.db")], check=True, timeout=120
    )
