"""Stores that cannot be opened are left as they are, and the error says which file, what is wrong and what to do."""

import pytest

from stepwell import Engine, StepwellError, StoreCorrupt, workflow
from stepwell.testing import open_test_engine


@workflow
async def echo(step, params):
    return params


async def a_store(path) -> None:
    async with open_test_engine(workflows=[echo], store=str(path)) as engine:
        for i in range(50):
            await engine.call(echo, {"text": "x" * 500}, id=f"i{i}")


def files(folder) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in sorted(folder.iterdir())}


async def refused(path) -> StepwellError:
    """Opens a store that cannot be opened; checks that nothing in its folder changed, and returns the error."""
    before = files(path.parent)
    with pytest.raises(StepwellError) as caught:
        async with Engine(str(path), workflows=[echo]):
            pytest.fail("it opened")
    assert files(path.parent) == before
    text = str(caught.value)
    assert path.name in text
    for word in ("stepwell.Client", "stepwell doctor"):
        assert word not in text
    return caught.value


async def test_a_store_with_overwritten_pages_is_corrupt(tmp_path):
    path = tmp_path / "s.db"
    await a_store(path)
    content = bytearray(path.read_bytes())
    content[4096 : len(content) // 2] = b"\xa5" * (len(content) // 2 - 4096)
    path.write_bytes(content)
    assert type(await refused(path)) is StoreCorrupt
