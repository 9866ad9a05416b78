"""Tools: functions that a model may call, with the schema of their arguments."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable
from typing import Any, Literal, TypeAlias, overload

try:
    from pydantic import ConfigDict, Field, TypeAdapter, ValidationError, create_model
    from pydantic_core import to_json
except ImportError as _missing:
    raise ImportError(
        "stepwell.agents needs pydantic (at least 2.10, below 3): pip install stepwell[agents]"
    ) from _missing

from .._errors import InvalidConfig
from .._steps.retry import Retry
from .._values import names

Asked: TypeAlias = bool | Callable[[dict[str, Any]], bool]
OnInterrupt: TypeAlias = Literal["retry", "fail"]


class BadArguments(Exception):
    """A model calls a tool with arguments that do not fit; the text says which, for the model."""


class Tool:
    """A function that a model may call. `@tool` makes one.

    Attributes:
        name: What the model calls it, and the name of its steps.
        description: What the model is told of it: the function's docstring.
        schema: JSON schema of its arguments, an object.
        fn: The function.
        approval: Whether somebody has to approve a call first.
        on_interrupt: What becomes of a call that a crash cut short; None: as its `@step_options`
            say.
        retry: How often it is tried; None: as its `@step_options` say.
    """

    def __init__(
        self, fn: Callable[..., Any], *, approval: Asked, on_interrupt: OnInterrupt | None,
        retry: Retry | None,
    ) -> None:  # fmt: skip
        self.fn = fn
        self.name = names.step_name(getattr(fn, "__name__", ""))
        self.description = inspect.getdoc(fn) or ""
        self.approval = approval
        self.on_interrupt: OnInterrupt | None = on_interrupt
        self.retry = retry
        self._parameters, self._model = _arguments(fn, self.name)
        self.schema: dict[str, Any] = self._model.model_json_schema()
        self.schema.pop("title", None)

    def __repr__(self) -> str:
        return f"<tool {self.name}>"

    def __call__(self, *args: Any, **named: Any) -> Any:
        """Calls the function, as if it were no tool."""
        return self.fn(*args, **named)

    def needs_approval(self, args: dict[str, Any]) -> bool:
        """Whether somebody has to approve a call with these arguments, as `checked` returned them.
        Raises whatever a function that is to say so raises."""
        return bool(self.approval(dict(args))) if callable(self.approval) else self.approval

    def _set_options(self, options: Any) -> None:
        raise InvalidConfig(f"tool {self.name}: put @tool above @step_options, not below it.")

    __stepwell_options__ = property(None, _set_options)

    def checked(self, args: dict[str, Any]) -> dict[str, Any]:
        """Returns arguments as the annotations want them, defaults among them. Raises
        BadArguments."""
        try:
            made = self._model.model_validate(args)
        except ValidationError as error:
            raise BadArguments(_told(error)) from None
        return {name: getattr(made, field) for name, field in self._parameters.items()}


def _arguments(fn: Callable[..., Any], name: str) -> tuple[dict[str, str], Any]:
    """Returns a pydantic model of what a function takes, and its field for each parameter. Fields
    have names of their own, for parameters may be called what a model has methods for."""
    try:
        hints = typing.get_type_hints(fn, include_extras=True)
    except Exception as error:
        raise InvalidConfig(f"tool {name}: its annotations cannot be read: {error}") from error
    parameters: dict[str, str] = {}
    fields: dict[str, Any] = {}
    for it in inspect.signature(fn).parameters.values():
        if it.kind not in (it.POSITIONAL_OR_KEYWORD, it.KEYWORD_ONLY):
            raise InvalidConfig(
                f"tool {name} has the parameter {it}; a model gives arguments by name, so it "
                "has to have one."
            )
        if it.name not in hints:
            raise InvalidConfig(
                f"tool {name}: {it.name} has no annotation, and the model is told what it may be."
            )
        default = ... if it.default is it.empty else it.default
        parameters[it.name] = field = f"p{len(fields)}"
        fields[field] = (hints[it.name], Field(default, alias=it.name, title=None))
    try:
        made = create_model(name, __config__=ConfigDict(extra="forbid"), **fields)
        made.model_json_schema()
    except Exception as error:
        raise InvalidConfig(
            f"tool {name}: no JSON schema can be made of its parameters: {error}"
        ) from error
    return parameters, made


@overload
def tool(fn: Callable[..., Any], /) -> Tool: ...
@overload
def tool(
    *, approval: Asked = False, on_interrupt: OnInterrupt | None = None, retry: Retry | None = None
) -> Callable[[Callable[..., Any]], Tool]: ...
def tool(
    fn: Callable[..., Any] | None = None, /, *, approval: Asked = False,
    on_interrupt: OnInterrupt | None = None, retry: Retry | None = None,
) -> Any:  # fmt: skip
    """Makes a tool of a function, async or plain. It is called as a step of its own, so whatever
    holds for steps holds for it: `@step_options`, `current_step()`, threads for plain functions.

    Args:
        fn: Each parameter needs an annotation, which pydantic understands: what a model gives is
            checked against it, and it is what the model is told. The docstring is what the model
            reads of the tool; `Annotated[str, Field(description=…)]` describes a parameter.
        approval: True: each call waits until somebody approves it. A function of the arguments, by
            name, checked and with defaults: those for which it returns True, or raises. It is part
            of the body: it decides alike on every replay, and waits for nothing.
        on_interrupt: "retry": a call that a crash cut short is made again; "fail": the model is
            told that it may have been done in part. Default: as `@step_options` say, or "retry".
        retry: How often a call is tried; default: as `@step_options` say, or the engine.

    Raises:
        InvalidConfig: It is no function, a parameter has no annotation or no name, or no JSON
            schema can be made of it.
    """
    if on_interrupt not in (None, "retry", "fail"):
        raise InvalidConfig(f'on_interrupt={on_interrupt!r:.80} is neither "retry" nor "fail".')

    def made(fn: Callable[..., Any]) -> Tool:
        if not inspect.isroutine(fn):
            raise InvalidConfig(f"@tool is for functions; this is {fn!r:.80}.")
        return Tool(fn, approval=approval, on_interrupt=on_interrupt, retry=retry)

    return made if fn is None else made(fn)


def answer_text(value: Any) -> str:
    """Returns what a model is told of a result: a text as it is, all else as JSON."""
    if isinstance(value, str):
        return value
    return to_json(value, bytes_mode="base64", inf_nan_mode="strings", fallback=repr).decode()


def reader_of(type: Any) -> Any:
    """Returns what reads a type. Raises InvalidConfig."""
    try:
        return TypeAdapter(type)
    except Exception as error:
        raise InvalidConfig(f"as_type={type!r:.80} cannot be read from JSON: {error}") from error


def read_by(reader: Any, text: str) -> Any:
    """Returns a model's last word as a type. Raises BadArguments."""
    try:
        return reader.validate_json(text)
    except ValidationError as error:
        raise BadArguments(_told(error)) from None


def _told(error: ValidationError) -> str:
    wrong = error.errors(include_url=False, include_context=False, include_input=False)
    return "; ".join(
        ": ".join(filter(None, (".".join(map(str, it["loc"])), it["msg"]))) for it in wrong
    )
