"""A set has no positions: what is done for each of its members goes by key, or is refused (rule
D8)."""

import pytest
from asyncio_bodies import flow

from stepwell import InstanceErrored, InvalidConfig, workflow
from stepwell.testing import open_test_engine


class Name(str):
    """Hashes as texts do: alike within a process, otherwise in another one."""

    process = 0

    def __hash__(self) -> int:
        return ord(self[0]) * (-1 if self.process % 2 else 1)


class Names(set):
    pass


NAMES = [Name("dan"), Name("ann"), Name("cid"), Name("bob")]


@pytest.fixture(autouse=True)
def _first_process():
    Name.process = 0


async def upper(name) -> str:
    return name.upper()


def test_the_order_of_these_sets_is_another_one_in_every_process():
    first = list(set(NAMES))
    Name.process = 1
    assert list(set(NAMES)) != first


@pytest.mark.parametrize("made", [set, frozenset, Names, lambda names: iter(set(names))])
@pytest.mark.parametrize("method", ["map", "each"])
async def test_d8_map_and_each_over_a_set_need_a_key(made, method):
    @workflow(name="w")
    async def w(step):
        await getattr(step, method)(upper, made(NAMES))

    async with open_test_engine(workflows=[w]) as engine:
        with pytest.raises(
            InstanceErrored, match=rf"step\.{method} was given a set.*Pass key=.*sorted"
        ):
            await engine.call(w)


@pytest.mark.parametrize("made", [set, frozenset, Names, lambda names: iter(set(names))])
@pytest.mark.parametrize("method", ["map", "each"])
async def test_d8_with_keys_a_set_is_gone_through_in_the_order_of_the_keys_whatever_order_it_has(
    made, method
):
    ran = []

    @workflow(name="w")
    async def w(step):
        async def runs(name) -> str:
            ran.append(str(name))
            return name.upper()

        async def branch(name) -> str:
            return await step.do(runs, name)

        names = made(NAMES)
        first = await getattr(step, method)(
            runs if method == "map" else branch, names, key=str, concurrency=1
        )
        await step.wait_for_event("go")
        return first

    async with open_test_engine(workflows=[w]) as engine:
        instance = await engine.create(w)
        await instance.wait_for_status("waiting")
        Name.process = 1
        await engine.crash()
        await instance.send_event("go")
        assert await instance.result() == ["ANN", "BOB", "CID", "DAN"]
    assert ran == ["ann", "bob", "cid", "dan"]


async def test_d8_a_set_that_was_gone_through_in_part_goes_on_after_a_crash():
    ran = []

    @workflow(name="w")
    async def w(step):
        async def runs(name) -> str:
            ran.append(str(name))
            return name.upper()

        async def branch(name) -> str:
            done = await step.do(runs, name)
            await step.wait_for_event(str(name))
            return done

        return await step.each(branch, set(NAMES), key=str, concurrency=2)

    async with open_test_engine(workflows=[w]) as engine:
        instance = await engine.create(w)
        await instance.wait_for_status("waiting")
        Name.process = 1
        await engine.crash()
        for name in NAMES:
            await instance.send_event(name)
        assert await instance.result() == ["ANN", "BOB", "CID", "DAN"]
    assert sorted(ran) == ["ann", "bob", "cid", "dan"]


@pytest.mark.parametrize("method", ["map", "each"])
async def test_d8_two_members_of_one_key_are_refused(method):
    @workflow(name="w")
    async def w(step):
        await getattr(step, method)(upper, set(NAMES), key=lambda _: "same")

    async with open_test_engine(workflows=[w]) as engine:
        with pytest.raises(InstanceErrored, match="same"):
            await engine.call(w)


@pytest.mark.parametrize("view", [dict.keys, dict.values, dict.items, list, iter])
async def test_d8_dict_views_are_no_sets(view):
    @workflow(name="w")
    async def w(step):
        return await step.map(repr, view({"b": "b", "a": "a"}))

    async with open_test_engine(workflows=[w]) as engine:
        assert await engine.call(w) == [repr(it) for it in view({"b": "b", "a": "a"})]


@pytest.mark.parametrize("made", [set, frozenset, Names])
async def test_d8_a_batch_of_a_set_is_refused_by_engine_and_step(made):
    @workflow(name="w")
    async def w(step):
        await step.create_batch("w", made(NAMES))

    async with open_test_engine(workflows=[w]) as engine:
        with pytest.raises(InstanceErrored, match=r"items is a set.*sorted"):
            await engine.call(w)
        with pytest.raises(InvalidConfig, match=r"items is a set.*sorted"):
            await engine.create_batch(w, made(NAMES))


@pytest.mark.parametrize("method", ["gather", "as_completed"])
async def test_d8_a_set_of_operations_is_refused_and_the_cure_is_a_list(method):
    async def code(step, _):
        operations = {step.sleep(1, name="a"), step.sleep(1, name="b")}
        try:
            getattr(step, method)(operations)
        finally:
            for operation in operations:
                operation.close()

    async with open_test_engine(workflows=[flow(code)]) as engine:
        with pytest.raises(InstanceErrored, match=r"A set has no order.* make a list"):
            await engine.call("flow")
