"""A codec and `step.continue_as_new`: params of the next run are values like others (L15)."""

from __future__ import annotations

from typing import Any

from test_sealing import KEY, OTHER, PLAIN, Moving, raw, ring

from stepwell import workflow
from stepwell.testing import open_test_engine


@workflow(name="renews")
async def renews(step, params: list[str]) -> list[str]:
    run, secret = params
    await step.wait_for_event("go")
    if run == "first":
        await step.continue_as_new(["second", f"{secret} again"])
    return params


async def _second_run(engine: Any, id: str) -> Any:
    instance = await engine.create(renews, ["first", PLAIN], id=id)
    await instance.send_event("go")
    while not any(it.kind == "continue_as_new" for it in await instance.history()):
        pass
    await instance.wait_for_status("waiting")
    return instance


async def test_l15_params_of_the_next_run_are_sealed_and_their_keys_rotate(tmp_path):
    store = str(tmp_path / "s.db")
    async with open_test_engine([renews], store=store, codec=ring(one=KEY)) as engine:
        await _second_run(engine, "old")
    assert PLAIN.encode() not in raw(tmp_path / "s.db")
    both = ring(one=KEY, two=OTHER)
    async with open_test_engine([renews], store=store, codec=both) as engine:
        await _second_run(engine, "new")
        old = await engine.get(renews, "old")
        await old.send_event("go")
        assert await old.result() == ["second", f"{PLAIN} again"]
    # what is written since is under the new key, and the old one is not needed for it
    async with open_test_engine([renews], store=store, codec=ring(two=OTHER)) as engine:
        new = await engine.get(renews, "new")
        await new.send_event("go")
        assert await new.result() == ["second", f"{PLAIN} again"]
    assert PLAIN.encode() not in raw(tmp_path / "s.db")


async def test_l15_a_next_run_whose_key_is_gone_is_blocked_until_it_is_back(tmp_path):
    store = str(tmp_path / "s.db")
    async with open_test_engine([renews], store=store, codec=ring(one=KEY)) as engine:
        await _second_run(engine, "r")
    async with open_test_engine([renews], store=store, codec=ring(two=OTHER)) as engine:
        instance = await engine.get(renews, "r")
        await instance.send_event("go")
        await instance.wait_for_status("blocked")
        told = await instance.explain()
        assert told.code == "undecodable"
        assert "cannot be decoded as the params of renews/r" in told.text
        assert "key 'one' is not in the keyring" in told.text
        assert "with the key it was stored with. Then resume()" in told.text
        assert "Restore the type" not in told.text
    async with open_test_engine([renews], store=store, codec=ring(one=KEY)) as engine:
        instance = await engine.get(renews, "r")
        await instance.resume()
        assert await instance.result() == ["second", f"{PLAIN} again"]


async def test_l15_params_of_the_next_run_are_bound_to_their_instance():
    moving = Moving(b"nothing yet", b"bra\x66params")
    async with open_test_engine([renews], codec=moving) as engine:
        await _second_run(engine, "ra")
        instance = await engine.create(renews, ["first", PLAIN], id="rb")
        await instance.wait_for_status("waiting")
        moving._place = b"brb\x66params"
        await instance.send_event("go")
        await instance.wait_for_status("blocked")
        assert "cannot be decoded as the params of renews/rb" in (await instance.explain()).text
