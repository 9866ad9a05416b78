"""Definitions: what `@workflow` and `@step_options` attach to functions.

Everything that can be known about a function before it runs is worked out here once: its name,
whether it is async, the types of what it takes and returns, its retry and timeout.
"""

from __future__ import annotations

import functools
import inspect
import itertools
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from types import CodeType, FunctionType
from typing import Any, Generic, Literal, Protocol, TypeAlias, TypeVar, get_args, overload
from weakref import WeakKeyDictionary

from .._core import LIMITS
from .._errors import InvalidConfig, NotSerializable, StepwellError
from .._values.codec import Plan, codec, usable
from .._values.durations import Duration, to_us
from .._values.hidden import HiddenPlan
from .._values.hints import params_type, return_type
from .._values.names import flag, sought, step_name, workflow_name
from .retention import Retention, retention_of
from .retry import Retry
from .signatures import OnInterrupt, Runtime
from .undo import Undo, UndoContext, undo_of

P = TypeVar("P")
R = TypeVar("R")
P_contra = TypeVar("P_contra", contravariant=True)
R_co = TypeVar("R_co", covariant=True)
F = TypeVar("F", bound=Callable[..., Any])

RUNTIMES: tuple[Runtime, ...] = get_args(Runtime)
ATTEMPT_TIMEOUT_US = 600_000_000
"""10 minutes, the reference service's default for one attempt."""


class TakenForStep(Protocol):
    """A `Step`, or what stands for one: what a workflow is called with and no step is, so that
    checkers refuse `step.do(workflow)`."""

    def patched(self, change_id: str) -> Awaitable[bool]:
        """As `Step.patched`."""
        ...


class Workflow(Generic[P_contra, R_co]):
    """A workflow: an async function, registered by name and version.

    Calling it calls the plain function. Made by `@workflow`.

    Attributes:
        name: What instances and messages call it.
        version: The version that new instances get.
    """

    has_code = True
    """Whether this is the workflow, and not what stands for one whose code is not here."""

    def __init__(
        self,
        fn: Callable[..., Awaitable[R_co]],
        *,
        name: str | None,
        version: str,
        concurrency: int | None,
        queue_entries: int | None,
        steps: int | None,
        value_bytes: int | None,
        park: bool,
        runtime: Runtime,
        timeout: Duration | None = None,
        on_error: OnBodyError | None = None,
        retention: Retention | None = None,
        formerly: Iterable[str] = (),
    ) -> None:
        if not inspect.iscoroutinefunction(fn):
            raise InvalidConfig(f"@workflow needs an async function; {fn!r} is {_instead(fn)}")
        if hasattr(fn, "__stepwell_options__"):
            raise InvalidConfig(
                f"@workflow: {fn!r} has @step_options, which are for functions of "
                "steps. Give them to the steps it makes."
            )
        self.fn = fn
        self.name = workflow_name(name if name is not None else getattr(fn, "__name__", None))
        self.formerly = _former_names(self.name, formerly)
        """Names it had before."""
        self.version = step_name(version, "version")
        self.concurrency = _count("concurrency", concurrency)
        self.queue_entries = _count("queue_entries", queue_entries)
        self.steps = _count("steps", steps)
        self.value_bytes = _count("value_bytes", value_bytes)
        self.park = park
        self.runtime = runtime
        self.timeout = None if timeout is None else to_us(timeout, "timeout")
        """How long an instance has, in microseconds."""
        self.on_error = None if on_error is None else on_body_error("@workflow", on_error)
        """What becomes of an instance whose body raises; None: what the engine says."""
        self.retention = retention
        """How long instances are kept; None: what the engine says."""
        positional = _positional(fn)
        self.takes_params = len(positional) > 1
        default = positional[-1].default if self.takes_params else None
        self.default = None if default is inspect.Parameter.empty else default
        """What new instances start with whose params are left out."""
        self.made = next(_made)
        functools.update_wrapper(self, fn)

    def __call__(self, step: TakenForStep, *args: Any, **kwargs: Any) -> Awaitable[R_co]:
        return self.fn(step, *args, **kwargs)

    def __repr__(self) -> str:
        return f"<workflow {self.name} version {self.version}>"

    @property
    def origin(self) -> str:
        """The function's name with file and line, for messages."""
        place = f" at {self.place}" if self.place else ""
        return f"{getattr(self.fn, '__qualname__', self.name)}{place}"

    @property
    def place(self) -> str:
        """File and line of the function; "" if it has none."""
        code = getattr(self.fn, "__code__", None)
        if not isinstance(code, CodeType):
            return ""
        return f"{code.co_filename.rpartition('/')[2]}:{code.co_firstlineno}"

    def is_redefinition_of(self, other: Workflow[Any, Any]) -> bool:
        """Whether both are made of the function with this name in this module, defined twice: a
        cell run again, a module reloaded."""
        mine, its = (
            (getattr(fn, "__module__", None), getattr(fn, "__qualname__", None))
            for fn in (self.fn, other.fn)
        )
        return mine == its and None not in mine and "<locals>" not in str(mine[1])

    @functools.cached_property
    def params(self) -> Plan:
        """How params are stored."""
        return codec.plan(params_type(self.fn))

    @functools.cached_property
    def output(self) -> Plan:
        """How the output is stored."""
        return codec.plan(return_type(self.fn))


def _instead(fn: Any) -> str:
    """Returns what is wrong with what was to be a workflow."""
    if inspect.isasyncgenfunction(fn) or inspect.isgeneratorfunction(fn):
        return (
            "a generator, because there is a `yield` in it. Return the values together, or tell "
            "them with step.report."
        )
    return "not one. Write `async def`."


def _former_names(name: str, formerly: Iterable[str]) -> tuple[str, ...]:
    if isinstance(formerly, str) or not isinstance(formerly, Iterable):
        raise InvalidConfig(
            f"@workflow: formerly is {formerly!r:.120}; give a list of names, as "
            'formerly=["old-name"].'
        )
    former = tuple(workflow_name(it, "name in formerly") for it in formerly)
    if name in former or len(set(former)) < len(former):
        raise InvalidConfig(
            f"@workflow: formerly of {name!r} is {former!r:.300}; give each other name once."
        )
    return former


OnBodyError: TypeAlias = Literal["errored", "blocked"]


def on_body_error(where: str, value: Any) -> OnBodyError:
    """Checks what is to become of an instance whose body raises.

    Raises:
        InvalidConfig: It is neither.
    """
    if value not in get_args(OnBodyError):
        raise InvalidConfig(f'{where}: on_error is {value!r}; give "errored" or "blocked".')
    return value  # type: ignore[no-any-return]  # it is one of these


_made = itertools.count()
"""Numbers workflows as they are made: of two definitions of one the later holds."""


def without_code(
    name: Any, version: str = "none", *, takes_params: bool = True
) -> Workflow[Any, Any]:
    """Returns what stands for a workflow whose code is not here. Its instances can be looked at;
    their values are plain data.

    Raises:
        InvalidName: The name is malformed.
    """

    async def no_code(step: Any, params: Any = None) -> Any:
        raise AssertionError("it is never run")

    async def no_params(step: Any) -> Any:
        raise AssertionError("it is never run")

    stand_in: Workflow[Any, Any] = Workflow(
        no_code if takes_params else no_params, name=workflow_name(name), version=version,
        concurrency=None, queue_entries=None, steps=None, value_bytes=None,
        park=True, runtime="trio",
    )  # fmt: skip
    stand_in.has_code = False
    return stand_in


def _count(what: str, value: int | None) -> int | None:
    _, most, _, _ = LIMITS[what]
    if value is not None and (type(value) is not int or not 1 <= value <= most):
        raise InvalidConfig(
            f"@workflow: {what} is {value!r}; give a whole number from 1 to {most:,}, or None."
        )
    return value


def _positional(fn: Callable[..., Any]) -> list[inspect.Parameter]:
    parameters = inspect.signature(fn).parameters.values()
    found = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    if len(found) not in (1, 2) or any(
        p.kind is p.KEYWORD_ONLY and p.default is p.empty for p in parameters
    ):
        raise InvalidConfig(
            f"{fn.__qualname__}: a workflow takes (step) or (step, params). Put "
            "several params into a dataclass or dict."
        )
    given = [p.name for p in found]
    if given[0] in ("self", "cls") or given[1:] == ["step"]:
        raise InvalidConfig(
            f"{fn.__qualname__}({', '.join(given)}): a workflow is given its step first, and no "
            "object. Write a function, or a static method, of (step) or (step, params)."
        )
    return found


class WithDefault(Protocol[P_contra, R_co]):
    """A function whose params have a default, so that they may be left out."""

    def __call__(self, step: Any, params: P_contra = ..., /) -> Awaitable[R_co]: ...


class MakesWorkflow(Protocol):
    """What `@workflow(…)` gives: makes a workflow of the function below it."""

    @overload
    def __call__(self, fn: WithDefault[P, R], /) -> Workflow[P | None, R]: ...
    @overload
    def __call__(self, fn: Callable[[Any, P], Awaitable[R]], /) -> Workflow[P, R]: ...
    @overload
    def __call__(self, fn: Callable[[Any], Awaitable[R]], /) -> Workflow[None, R]: ...


@overload
def workflow(fn: WithDefault[P, R], /) -> Workflow[P | None, R]: ...
@overload
def workflow(fn: Callable[[Any, P], Awaitable[R]], /) -> Workflow[P, R]: ...
@overload
def workflow(fn: Callable[[Any], Awaitable[R]], /) -> Workflow[None, R]: ...
@overload
def workflow(
    *,
    name: str | None = None,
    version: str = "1",
    concurrency: int | None = None,
    queue_entries: int | None = None,
    steps: int | None = None,
    value_bytes: int | None = None,
    retention: Retention | None = None,
    park: bool = True,
    runtime: Runtime = "trio",
    timeout: Duration | None = None,
    on_error: OnBodyError | None = None,
    formerly: Iterable[str] = (),
) -> MakesWorkflow: ...
def workflow(
    fn: Callable[..., Awaitable[Any]] | None = None,
    *,
    name: str | None = None,
    version: str = "1",
    concurrency: int | None = None,
    queue_entries: int | None = None,
    steps: int | None = None,
    value_bytes: int | None = None,
    retention: Retention | None = None,
    park: bool = True,
    runtime: Runtime = "trio",
    timeout: Duration | None = None,
    on_error: OnBodyError | None = None,
    formerly: Iterable[str] = (),
) -> Any:
    """Makes a workflow of an async function `f(step)` or `f(step, params)`.

    With a default, as in `f(step, size=5)`, an instance whose params are left out (or None) starts
    with that: it is stored when the instance is created, whatever the default is later.

    Args:
        name: Default: the function's name. 1 to 64 letters, digits, `_`, `-`.
        version: Instances run the version they were created with; new ones get the last one
            registered.
        concurrency: Most instances that run at once, 1 to 1,000,000; None: only the namespace's
            limit.
        queue_entries: Most instances that wait for a slot; None: the namespace's limit.
        steps: Most `do` and `map` steps of one instance; None: the namespace's limit.
        value_bytes: Most bytes of one encoded value; None: the namespace's limit.
        retention: How long instances are kept after their end, where they are not created with
            one of their own; of a name with several versions, the last one's. None: what the engine
            says.
        park: False keeps waiting instances in memory.
        runtime: What the body is written for, "trio" or "asyncio", whatever kind of program opens
            the engine. On asyncio it may have tasks of its own (`asyncio.TaskGroup`,
            `asyncio.create_task`), `step.gather` and `step.as_completed`; it awaits `step.…` and
            its own tasks, nothing else. Where the code of steps runs is another matter: see
            `step.do`.
        timeout: How long an instance has, 0 to 365 days, from when its body first runs; a pause
            does not count. It is a deadline over the whole body, as `step.move_on_after`: durable,
            and what is under way when it passes is cancelled and ends first. The instance is
            errored then, with `InstanceTimeout`. One that is under way keeps the deadline it has,
            but for one whose code has no timeout any more.
        on_error: What becomes of an instance whose body raises. "errored": it ends. "blocked": it
            is blocked (`body_failed`), so that a bug in a deploy costs nothing: fix it, then
            `resume()`. None: what the engine says (`Engine(on_error=)`).
        formerly: Every name that it had before, as `("old-name",)`. When an engine opens with it,
            all instances of those names are this workflow's, in one commit, and so are limits that
            were set for them; callers may go on using the old names. What an instance derived from
            its old name (idempotency keys, `uuid`, `random`, ids of children) stays as it was. Keep
            it here as long as there are instances whose history names the workflow by it.

    Raises:
        InvalidName: The name, or one that it had, breaks the rule above.
        InvalidConfig: Not an async function, a wrong signature, `@step_options` on it, a number out
            of range, or `formerly` is no list of other names.
    """
    if runtime not in RUNTIMES:
        raise InvalidConfig(f'@workflow: runtime is {runtime!r}; give "trio" or "asyncio".')
    kept = retention_of("@workflow", retention)

    def make(fn: Callable[..., Awaitable[Any]]) -> Workflow[Any, Any]:
        return Workflow(
            fn,
            name=name,
            version=version,
            concurrency=concurrency,
            queue_entries=queue_entries,
            steps=steps,
            value_bytes=value_bytes,
            park=park,
            runtime=runtime,
            timeout=timeout,
            on_error=on_error,
            retention=kept,
            formerly=formerly,
        )

    return make if fn is None else make(fn)


@dataclass(frozen=True, slots=True)
class StepOptions:
    """How one step is to be run. None: not said here."""

    name: str | None = None
    retry: Retry | None = None
    timeout: int | None = None
    heartbeat_timeout: int | None = None
    on_interrupt: OnInterrupt | None = None
    as_type: Any = None
    runtime: Runtime | None = None
    abandon_on_cancel: bool | None = None
    sensitive: bool | None = None
    undo: Undo | None = None

    def __post_init__(self) -> None:
        if self.name is not None:
            step_name(self.name)
        if self.retry is not None and not isinstance(self.retry, Retry):
            raise InvalidConfig(
                f"retry is {self.retry!r}; give a stepwell.Retry, for example Retry(limit=3)."
            )
        if self.on_interrupt not in (None, "retry", "fail"):
            raise InvalidConfig(f'on_interrupt is {self.on_interrupt!r}; give "retry" or "fail".')
        for name in ("abandon_on_cancel", "sensitive"):
            if (given := getattr(self, name)) is not None:
                flag(given, name)
        if self.runtime not in (None, *RUNTIMES):
            raise InvalidConfig(
                f'runtime is {self.runtime!r}; give "trio" or "asyncio", or None '
                "for the engine's default_runtime."
            )
        if self.as_type is not None:
            usable(self.as_type)

    @classmethod
    def of(
        cls,
        *,
        name: str | None = None,
        retry: Retry | None = None,
        timeout: Any = None,
        heartbeat_timeout: Any = None,
        on_interrupt: OnInterrupt | None = None,
        undo: Any = None,
        as_type: Any = None,
        sensitive: bool | None = None,
        runtime: Runtime | None = None,
        abandon_on_cancel: bool | None = None,
    ) -> StepOptions:
        """Checks and normalises what a caller gave."""
        return cls(
            name,
            retry,
            _time_for_an_attempt("timeout", timeout),
            _time_for_an_attempt("heartbeat_timeout", heartbeat_timeout),
            on_interrupt,
            as_type,
            runtime,
            abandon_on_cancel,
            sensitive,
            undo_of(undo),
        )


def _time_for_an_attempt(option: str, given: Any) -> int | None:
    us = None if given is None else to_us(given, option)
    if us == 0:
        raise InvalidConfig(
            f"{option} is 0, so every attempt would fail at once; give a longer one, or leave it "
            "out."
        )
    return us


STEP_OPTIONS = frozenset(inspect.signature(StepOptions.of).parameters) - {"name"}
"""What `step.do` and `step.map` take beside the function's arguments, name and key."""


class FunctionPlan:
    """All that is known about a step function.

    Attributes:
        name: Default name of its steps; None if one must be given (a lambda).
        is_async: Whether calling it gives a coroutine; others run in a thread.
        is_plain: Whether an attempt of it is the call of an async function and no more: no thread,
            no announcement.
        waits: Whether an attempt of it has ever had to wait, or is announced first, which waits as
            well; None before the first. One that never does is not given a cancel scope (a scope
            costs as much as the rest of a step).
        runtime: Where its coroutine runs, if it is async; None: where the engine says.
        is_sensitive: Whether what it returns, saves and reports is not shown.
        undo: What undoes a step of it, if anything.
    """

    __slots__ = (
        "_derived", "abandon_on_cancel", "codec", "heartbeat_timeout", "is_async", "is_generator",
        "is_plain", "is_sensitive", "name", "on_interrupt",
        "retry", "runtime", "timeout", "undo", "waits",
    )  # fmt: skip

    def __init__(self, fn: Callable[..., Any], options: StepOptions) -> None:
        plain = _unwrapped(fn)
        if isinstance(plain, Workflow):
            raise InvalidConfig(
                f'a workflow ("{plain.name}") is no function of a step, and has an instance of its '
                f"own. Write step.call({plain.name}, …); "
                "for many of them step.create_batch, or step.each over a function that does."
            )
        name = getattr(plain, "__name__", type(plain).__name__)
        self.name = options.name or (None if name == "<lambda>" else step_name(name))
        self.is_async = inspect.iscoroutinefunction(plain) or inspect.iscoroutinefunction(
            type(plain).__call__
        )
        self.is_generator = inspect.isgeneratorfunction(plain) or inspect.isasyncgenfunction(plain)
        self.retry = options.retry or _DEFAULT_RETRY
        self.timeout = ATTEMPT_TIMEOUT_US if options.timeout is None else options.timeout
        self.heartbeat_timeout = options.heartbeat_timeout
        self.on_interrupt = options.on_interrupt or "retry"
        self.is_sensitive = bool(options.sensitive)
        self.undo = options.undo
        self.codec = _stored_as(
            codec.plan(return_type(plain) if options.as_type is None else options.as_type),
            self.is_sensitive,
        )
        self.is_plain = self.is_async and self.on_interrupt != "fail" and not self.codec.never
        self.waits: bool | None = True if self.on_interrupt == "fail" else None
        self.runtime = options.runtime
        self.abandon_on_cancel = self._of_a_thread(options.abandon_on_cancel)
        self._derived: dict[StepOptions, FunctionPlan] = {}

    def refusal(self, fn: Callable[..., Any]) -> StepwellError | None:
        """Returns why no step of this function is run; None if it may be. It would have run for
        nothing (R8, D8)."""
        if self.is_generator:
            return InvalidConfig(
                f"{_called(fn)} is a generator; a step returns one value. Return a list."
            )
        if self.codec.never:
            text = (
                f"{_called(fn)} was not run, because nothing it returns could be stored: "
                f"{self.codec.never}. "
            )
            return NotSerializable(f"{text}Return plain data, or pass as_type=.", path="result")
        return None

    def with_options(self, options: StepOptions) -> FunctionPlan:
        """Returns this plan with what one call asks for; the same one for the same options, so that
        it learns (`waits`)."""
        try:
            known = self._derived.get(options)
        except TypeError:  # as_type need not be hashable
            return self._with(options)
        if known is None:
            if len(self._derived) >= DERIVED_MAX:
                self._derived.clear()
            known = self._derived[options] = self._with(options)
        return known

    def _with(self, options: StepOptions) -> FunctionPlan:
        other: FunctionPlan = object.__new__(FunctionPlan)
        other.name = options.name or self.name
        other.is_async = self.is_async
        other.is_generator = self.is_generator
        other.retry = options.retry or self.retry
        other.timeout = self.timeout if options.timeout is None else options.timeout
        other.heartbeat_timeout = options.heartbeat_timeout or self.heartbeat_timeout
        other.on_interrupt = options.on_interrupt or self.on_interrupt
        other.is_sensitive = (
            self.is_sensitive if options.sensitive is None else bool(options.sensitive)
        )
        other.undo = options.undo or self.undo
        given = self.codec.type if options.as_type is None else options.as_type
        other.codec = _stored_as(codec.plan(given), other.is_sensitive)
        other.is_plain = other.is_async and other.on_interrupt != "fail" and not other.codec.never
        other.waits = True if other.on_interrupt == "fail" else self.waits
        other.runtime = options.runtime or self.runtime
        other.abandon_on_cancel = self.abandon_on_cancel
        if options.abandon_on_cancel is not None:
            other.abandon_on_cancel = self._of_a_thread(options.abandon_on_cancel)
        other._derived = {}
        return other

    def _of_a_thread(self, abandon_on_cancel: bool | None) -> bool:
        if abandon_on_cancel and self.is_async:
            raise InvalidConfig(
                f'step "{self.name}": abandon_on_cancel=True is for plain functions, whose threads '
                "cannot be stopped; this one is async, and ends when it is cancelled. Leave it out."
            )
        return bool(abandon_on_cancel)


def _stored_as(plan: Plan, is_sensitive: bool) -> Plan:
    """Returns how the results of a step are stored."""
    return HiddenPlan(plan) if is_sensitive else plan


_DEFAULT_RETRY = Retry()
_by_code: WeakKeyDictionary[CodeType, dict[str, FunctionPlan]] = WeakKeyDictionary()
"""By code and name: a factory may give what it makes names of their own."""
DERIVED_MAX = 64
"""Plans kept for calls with options; more only where options are made up call by call."""


def _unwrapped(fn: Any) -> Any:
    while isinstance(fn, functools.partial):
        fn = fn.func
    return fn


def is_plain_def(fn: Any) -> bool:
    """Whether a call of this runs code at once, as its `def` says; behind partials, and decorators
    that say what they decorate.

    Of a lambda or a method that is not known before it is called.
    """
    plain = _unwrapped(fn)
    if not inspect.isfunction(plain) or plain.__name__ == "<lambda>":
        return False
    return not inspect.iscoroutinefunction(inspect.unwrap(plain, stop=inspect.iscoroutinefunction))


def _called(fn: Callable[..., Any]) -> str:
    return getattr(_unwrapped(fn), "__qualname__", repr(fn))


def plan_of(fn: Callable[..., Any]) -> FunctionPlan:
    """Returns what is known about a step function, worked out at its first use.

    A function without annotations or options that is made inside of another shares its plan with
    all others made by the same code.
    """
    known: FunctionPlan | None = getattr(fn, "__stepwell_plan__", None)
    if known is not None:
        return known
    if isinstance(fn, FunctionType):
        if not fn.__dict__ and not fn.__annotations__ and "<locals>" in fn.__qualname__:
            named = _by_code.setdefault(fn.__code__, {})
            shared = named.get(fn.__name__)
            if shared is None:
                shared = named[fn.__name__] = FunctionPlan(fn, StepOptions())
            return shared
        plan = FunctionPlan(fn, getattr(fn, "__stepwell_options__", StepOptions()))
        fn.__stepwell_plan__ = plan  # type: ignore[attr-defined]  # functions take attributes
        return plan
    plain = _unwrapped(fn)
    return FunctionPlan(fn, getattr(plain, "__stepwell_options__", StepOptions()))


def step_options(
    *,
    name: str | None = None,
    retry: Retry | None = None,
    timeout: Any = None,
    heartbeat_timeout: Any = None,
    on_interrupt: OnInterrupt | None = None,
    undo: Undo | Callable[[UndoContext], Any] | None = None,
    as_type: Any = None,
    sensitive: bool | None = None,
    runtime: Runtime | None = None,
    abandon_on_cancel: bool | None = None,
) -> Callable[[F], F]:
    """Attaches defaults to a step function; what `step.do` is given wins.

    Args:
        name: Default name of its steps, 1 to 256 characters.
        retry: When and how often to try again.
        timeout: For one attempt; a duration up to 365 days, default 10 minutes.
        heartbeat_timeout: Longest time between two heartbeats of an attempt.
        on_interrupt: "retry" (default), or "fail" for calls that must not repeat after a crash, or
            when an engine closes over them.
        undo: What undoes its steps, if the instance fails or is terminated with `undo=True`: a
            function that takes an `UndoContext`, or an `Undo`.
        as_type: The type to store the result as, instead of the annotated one.
        sensitive: True: what it returns, saves and reports is shown to nobody but the body and the
            next attempt; history, listings and watchers get `Redacted`. See `Step.do`.
        runtime: "trio" or "asyncio": where an async function runs; default: what the engine says.
        abandon_on_cancel: True: a body that cancels the step does not wait for the end of its
            thread; see `Step.do`.

    Raises:
        InvalidName: The name is empty, too long or has control characters.
        InvalidConfig: Anything else is out of range.
    """
    options = StepOptions.of(
        name=name,
        retry=retry,
        timeout=timeout,
        heartbeat_timeout=heartbeat_timeout,
        on_interrupt=on_interrupt,
        undo=undo,
        as_type=as_type,
        sensitive=sensitive,
        runtime=runtime,
        abandon_on_cancel=abandon_on_cancel,
    )

    def attach(fn: F) -> F:
        if isinstance(fn, Workflow):
            raise InvalidConfig(
                f"@step_options is for functions of steps, and {fn!r} is a "
                "workflow. Give them to the steps it makes."
            )
        fn.__stepwell_options__ = options  # type: ignore[attr-defined]  # functions take attributes
        return fn

    return attach


__all__ = [
    "FunctionPlan",
    "StepOptions",
    "Workflow",
    "name_sought",
    "plan_of",
    "step_options",
    "workflow",
]


def name_sought(workflow: Workflow[Any, Any] | str | None) -> str | None:
    """Returns the name of a workflow that is looked for, which nothing need have; None: of any.
    Raises InvalidConfig."""
    return workflow.name if isinstance(workflow, Workflow) else sought(workflow, "workflow")
