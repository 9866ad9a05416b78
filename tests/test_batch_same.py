"""create_batch(if_exists="return_if_same") compares params, as create does."""

from stepwell import InstanceExists, NewInstance, workflow
from stepwell.testing import open_test_engine


@workflow
async def echo(step, params):
    return params


async def test_l2_return_if_same_in_a_batch_compares_the_params():
    async with open_test_engine(workflows=[echo]) as engine:
        await engine.call(echo, "first", id="a")
        result = await engine.create_batch(
            echo,
            [
                NewInstance("second", id="a"),
                NewInstance("first", id="a"),
                NewInstance(1, id="b"),
                NewInstance(2, id="b"),
            ],
            if_exists="return_if_same",
        )
        assert [(e.index, e.id, type(e.error)) for e in result.errors] == [
            (0, "a", InstanceExists),
            (3, "b", InstanceExists),
        ]
