"""Calls of `Step`: where one may come from, and which functions it takes.

All of it is decided at the call, before anything is begun, so that a refusal says what to write
instead and leaves no trace.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from .._body.branch import caller, current_branch, place
from .._ending import End
from .._errors import InvalidConfig, InvalidName, Misuse
from .._steps.workflow import STEP_OPTIONS, FunctionPlan, StepOptions, is_plain_def, plan_of
from .._types import InstanceInfo
from .._values.durations import from_us
from .._values.names import step_name
from .attributes import read_attributes

if TYPE_CHECKING:
    from .._body.life import Life

T = TypeVar("T")


def misplaced(life: Life, method: str, *, other_thread: bool) -> NoReturn:
    """Says why nobody may call this method of an instance's `Step`, such as `step.do`, here (I7).

    Raises:
        Misuse: Always.
    """
    branch, here = current_branch(), place.get()
    whose, at = f"{method} of {life.who}", caller()
    if here is not None and branch is None:
        name = here.identity[2]  # type: ignore[union-attr]  # no branch, so a step operation
        problem = (
            f'inside a step function (step "{name}") at {at}. Steps do not nest: call it in '
            "the workflow's body."
        )
    elif other_thread:
        problem = f"from another thread at {at}. Call it in the workflow's body."
    elif life.stopping is End.FINISHED:
        problem = f"at {at} after the body had ended. Await everything in the body."
    elif branch is not None:
        problem = f"by another instance's body at {at}. Use that body's own step."
    else:
        problem = (
            f"outside the workflow's body at {at}. Call it in the body; from outside, use "
            "the engine and its instances."
        )
    raise Misuse(f"{whose} was called {problem}")


def info(life: Life) -> InstanceInfo:
    """Returns what a body may know of its own instance."""
    who = life.who
    return InstanceInfo(
        who.id,
        who.workflow.name,
        who.version,
        who.namespace,
        from_us(who.created_at),
        None,  # the parent's id is not known here yet
        who.schedule,
        read_attributes(life, who.attributes),
    )


def step_function(
    fn: Any, method: str, name: str | None, options: dict[str, Any]
) -> tuple[FunctionPlan, str]:
    """Returns what is known of a function that is to be a step with these options, and the step's
    name.

    Raises:
        InvalidConfig: It is no function, or an option is unknown or malformed.
        InvalidName: The name is malformed, or a lambda has none.
    """
    plan = _plan(fn, method)
    if options:
        unknown = options.keys() - STEP_OPTIONS
        if unknown:
            raise InvalidConfig(
                f"step.{method} has no option {', '.join(sorted(unknown))}. Arguments of the "
                "function go by position, or through functools.partial."
            )
        plan = plan.with_options(StepOptions.of(**options))
    return plan, _named(plan, method, name)


def branch_name(fn: Any, method: str, name: str | None) -> str:
    """Returns the name of the branches that are to be calls of a function. Of a lambda or a method
    a call shows what it is.

    Raises:
        InvalidConfig: It is no function, or one that is not async.
        InvalidName: The name is malformed, or a lambda has none.
    """
    plan = _plan(fn, method)
    if is_plain_def(fn):
        raise no_workflow_code(fn)
    return _named(plan, method, name)


def workflow_code(fn: Callable[[Any], Awaitable[T]], item: Any) -> Awaitable[T]:
    """Calls what a branch of an `each` is to be, and returns what it gave to be awaited.

    Raises:
        InvalidConfig: It gave anything else.
    """
    code = fn(item)
    if not inspect.isawaitable(code):
        raise no_workflow_code(fn)
    return code


def no_workflow_code(fn: Any) -> InvalidConfig:
    """Says what to write instead of `step.each` with a function that returns nothing to await."""
    return InvalidConfig(
        f"step.each needs an async function with workflow code; {fn!r} is not. "
        "For plain steps use step.map."
    )


def _named(plan: FunctionPlan, method: str, name: str | None) -> str:
    if name is not None:
        return step_name(name)
    if plan.name is None:
        raise InvalidName(
            f"step.{method} was given a lambda, which has no name of its own. Pass name=."
        )
    return plan.name  # was checked when the plan was made


def _plan(fn: Any, method: str) -> FunctionPlan:
    if callable(fn):
        return plan_of(fn)
    if inspect.iscoroutine(fn):
        fn.close()
        name = fn.__name__
        raise InvalidConfig(
            f"step.{method} was given a coroutine: write step.{method}({name}, …) "
            f"instead of step.{method}({name}(…))."
        )
    raise InvalidConfig(
        f"step.{method} needs a function, got {fn!r:.100}. Write step.{method}(f, "
        f"x) instead of step.{method}(f(x))."
    )


def check_fan_out(method: str, concurrency: int, on_error: str) -> None:
    """Checks the options that `map` and `each` have in common.

    Raises:
        InvalidConfig: One of them is malformed.
    """
    if type(concurrency) is not int or not 1 <= concurrency <= 10_000:
        raise InvalidConfig(
            f"step.{method}: concurrency is {concurrency!r}; give a whole number from 1 to 10,000."
        )
    if on_error not in ("raise", "collect"):
        raise InvalidConfig(f'step.{method}: on_error is {on_error!r}; give "raise" or "collect".')
