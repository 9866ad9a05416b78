"""The same in pytest-benchmark, also against an installed wheel: `pytest benches
--benchmark-only`."""

import pytest
import trio

from benches import workloads

WORKLOADS = [workloads.sequential, workloads.concurrent, workloads.latency, workloads.replay]


@pytest.mark.parametrize("workload", WORKLOADS, ids=lambda w: w.__name__)
def test_workload(benchmark, workload, tmp_path_factory):
    figures = benchmark.pedantic(
        lambda: trio.run(workload, tmp_path_factory.mktemp("bench")), rounds=3
    )
    benchmark.extra_info.update(figures)


def test_codec_of_plain_values(benchmark):
    from stepwell._values.codec import codec

    value = {"id": "o-17", "items": [1, 2, 3], "paid": True}
    assert benchmark(lambda: codec.decode(codec.encode(value))) == value
