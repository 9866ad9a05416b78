"""Runs `async def` tests on trio, and prints the seed of every random choice."""

import functools
import inspect
import os
import signal
import sys

import hypothesis
import pytest
import trio

hypothesis.settings.register_profile(
    "ci", max_examples=200, deadline=None, print_blob=True, derandomize=False
)
hypothesis.settings.register_profile("default", max_examples=50, deadline=None, print_blob=True)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem):
    test = pyfuncitem.obj
    if not inspect.iscoroutinefunction(test):
        return None
    names = pyfuncitem._fixtureinfo.argnames
    trio.run(
        functools.partial(_with_deadline, test, {name: pyfuncitem.funcargs[name] for name in names})
    )
    return True


async def _with_deadline(test, arguments):
    """A test that hangs fails, and names where; two minutes are far above what any of them
    takes."""
    with trio.fail_after(float(os.environ.get("STEPWELL_TEST_TIMEOUT", 120))):
        await test(**arguments)


@pytest.fixture(autouse=True)
def no_exception_stays():
    """A test leaves no exception that is still handled: it would be the context of whatever the
    next ones raise."""
    yield
    assert sys.exc_info()[1] is None


@pytest.fixture
def hears_ctrl_c():
    """Whoever runs the tests may have it ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)
