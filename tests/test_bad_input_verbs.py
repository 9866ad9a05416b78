"""Whatever can be asked of an instance, asked of one that is not there, has ended, or belongs to
another namespace, or asked with nonsense, on all three fronts: the error says what, of whom, and
what to do, and nothing is changed."""

import asyncio
import inspect

import pytest
import trio

from stepwell import (
    Engine,
    InstanceNotFound,
    InvalidConfig,
    InvalidName,
    InvalidState,
    aio,
    sync,
    workflow,
)

VERBS = {
    "pause": (), "resume": (), "terminate": (), "retry_now": (), "restart": (), "delete": (),
    "set_priority": (5,), "start_now": (), "send_event": ("go",), "status": (), "history": (),
    "explain": (), "export": (), "result": (), "wait_for_status": ("complete",),
}  # fmt: skip
READS = {"status", "history", "explain", "export", "result", "wait_for_status"}
FOR_ENDED = {"restart", "delete"} | READS


@workflow
async def waits(step):
    await step.wait_for_event("go")


@workflow
async def ends(step):
    return None


async def got(value):
    """Returns what a call of any front comes to."""
    return await value if inspect.isawaitable(value) else value


async def on_trio(scenario, store) -> None:
    async with Engine(store, workflows=[waits, ends]) as engine:
        await scenario(engine)


def on_asyncio(scenario, store) -> None:
    async def main() -> None:
        async with aio.Engine(store, workflows=[waits, ends]) as engine:
            await scenario(engine)

    asyncio.run(main())


def blocking(scenario, store) -> None:
    with sync.Engine(store, workflows=[waits, ends]) as engine, pytest.raises(StopIteration):
        scenario(engine).send(None)  # it waits for nothing by itself


FRONTS = {
    "trio": lambda scenario, store: trio.run(on_trio, scenario, store),
    "asyncio": on_asyncio,
    "blocking": blocking,
}


@pytest.fixture(params=list(FRONTS))
def front(request):
    return FRONTS[request.param]


@pytest.fixture(params=[":memory:", "s.db"])
def store(request, tmp_path):
    return request.param if request.param == ":memory:" else str(tmp_path / request.param)


async def refused(call, error, *texts: str) -> Exception:
    with pytest.raises(error) as found:
        await got(call())
    for text in texts:
        assert text in str(found.value), f"{text!r} is not in {str(found.value)!r}"
    return found.value


async def known(engine, *instances):
    """What there is to see of these and of what was done: as long as nothing changes, the same."""
    told = [await got(engine.count()), (await got(engine.audit())).items]
    for it in instances:
        status = await got(it.status())
        told += [status, await got(it.history())]
    return told


def verbs_of(instance):
    return {name: (getattr(instance, name), args) for name, args in VERBS.items()}


def test_of_one_that_is_not_there_each_call_says_so(front, store):
    async def scenario(engine):
        handle = await got(engine.create(waits, id="gone"))
        await got(handle.delete())
        before = await known(engine)
        for method, args in verbs_of(handle).values():
            error = await refused(
                lambda method=method, args=args: method(*args),
                InstanceNotFound, 'there is no instance "gone" of "waits"', "list() what there is",
            )  # fmt: skip
            assert (error.workflow, error.id) == ("waits", "gone")
        await refused(
            lambda: engine.get(waits, "never"),
            InstanceNotFound, 'no instance "never" of "waits" in namespace "default"',
        )  # fmt: skip
        assert await known(engine) == before

    front(scenario, store)


def test_of_one_in_another_namespace_each_call_says_which_it_looked_in(front, store):
    async def scenario(engine):
        acme = engine.namespace("acme")
        theirs = await got(acme.create(waits, id="a"))
        mine = await got(engine.create(waits, id="a"))
        await got(mine.wait_for_status("waiting"))
        await got(theirs.delete())
        before = await known(engine, mine)
        for method, args in verbs_of(theirs).values():
            await refused(
                lambda method=method, args=args: method(*args),
                InstanceNotFound, 'no instance "a" of "waits" in namespace "acme"',
            )  # fmt: skip
        await refused(
            lambda: acme.get(waits, "a"), InstanceNotFound, 'in namespace "acme"', "Create it"
        )
        assert await known(engine, mine) == before

    front(scenario, store)


def test_of_one_that_has_ended_what_moves_it_is_refused(front, store):
    async def scenario(engine):
        ended = await got(engine.create(ends, id="e"))
        await got(ended.result())
        before = await known(engine, ended)
        for name, (method, args) in verbs_of(ended).items():
            if name not in FOR_ENDED:
                error = await refused(
                    lambda method=method, args=args: method(*args),
                    InvalidState, 'instance "e" of "ends" is complete: it has ended', "nothing to",
                )  # fmt: skip
                assert error.status == "complete"
        await refused(
            lambda: ended.wait_for_status("running"),
            InvalidState, "ends/e is complete; it cannot become running any more",
        )  # fmt: skip
        await refused(
            lambda: ended.restart(from_step="failed"), InvalidState, "nothing of", "Nothi"
        )
        assert await known(engine, ended) == before

    front(scenario, store)


NONSENSE = [
    ("pause", {"actor": 7}, InvalidName, "actor 7 (int)"),
    ("resume", {"to_version": 7}, InvalidName, "to_version 7 (int)"),
    ("resume", {"to_version": "9"}, InvalidState, "pause it first"),
    ("terminate", {"note": 7}, InvalidConfig, "note=7 (int) is not text"),
    ("retry_now", {"actor": ""}, InvalidName, "actor ''"),
    ("restart", {"from_step": "charge"}, InvalidConfig, "from_step"),
    ("restart", {"from_step": 7}, InvalidConfig, "from_step"),
    ("delete", {"actor": b"x"}, InvalidName, "actor b'x'"),
    ("set_priority", {"priority": 101}, InvalidConfig, "priority=101"),
    ("set_priority", {"priority": "5"}, InvalidConfig, "priority='5'"),
    ("start_now", {"note": "n" * 4097}, InvalidConfig, "4,097 characters"),
    ("send_event", {"type": "a b"}, InvalidName, "'a b'"),
    ("send_event", {"type": "go", "dedup_id": ""}, InvalidName, "dedup_id"),
    ("wait_for_status", None, InvalidConfig, "no state to wait for"),
    ("watch", {"cursor": "x"}, InvalidConfig, "cursor"),
]


def test_nonsense_is_refused_by_its_name_and_nothing_is_asked(front, store):
    async def scenario(engine):
        instance = await got(engine.create(waits, id="a"))
        await got(instance.wait_for_status("waiting"))
        before = await known(engine, instance)
        for name, options, error, text in NONSENSE:
            method = getattr(instance, name)
            if name == "watch":
                with pytest.raises(error, match=text):
                    method(**options)
                continue
            await refused(lambda m=method, o=options: m(**(o or {})), error, text)
        await refused(lambda: instance.wait_for_status("gone"), InvalidConfig, "gone")
        assert await known(engine, instance) == before

    front(scenario, store)
