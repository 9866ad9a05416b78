"""How a command asks an engine: which store, which namespace, what to do with what goes wrong.

A command is an async function of a client, an output and its options. `asks` makes a command of it
that knows which operations of the table it stands for, and gives it their options.
"""

from __future__ import annotations

import getpass
import os
import stat
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from . import STORE_BEFORE
from .addresses import LATEST, Span
from .escaping import in_line
from .exits import NOT_ALLOWED, NOT_FOUND, STORE, Failure, bare
from .options import options_of
from .output import Output
from .wording import text_of

if TYPE_CHECKING:
    from stepwell import Client, ClientNamespace

Body = Callable[..., Awaitable[int | None]]
DEFAULT_STORE = "stepwell.db"


class Command(click.Command):
    """A command that asks for operations of the table.

    Attributes:
        operations: Their names.
        without: Parameters of theirs that are no options of it.
    """

    operations: tuple[str, ...] = ()
    without: tuple[str, ...] = ()


def _store(ctx: click.Context, param: click.Parameter, path: str) -> str:
    """The nearest one counts: after the command, before it, in the environment."""
    is_after = ctx.get_parameter_source("store") is ParameterSource.COMMANDLINE
    return path if is_after else ctx.meta.get(STORE_BEFORE) or path


def store_options() -> list[click.Option]:
    """Returns the options that say which store is meant."""
    return [
        click.Option(
            ["--store"], envvar="STEPWELL_STORE", default=DEFAULT_STORE, metavar="PATH",
            callback=_store,
            help=f"The engine's store; default: $STEPWELL_STORE, or {DEFAULT_STORE}.",
        ),
        click.Option(["--namespace"], default="default", metavar="NAME", help="Whose instances."),
        click.Option(
            ["--wait"], default="5 seconds", type=Span(), metavar="DURATION",
            help="How long to wait for an engine that is away; default: 5 seconds.",
        ),
    ]  # fmt: skip


def output_options() -> list[click.Option]:
    """Returns the options that say how to print."""
    return [
        click.Option(
            ["--json", "as_json"], is_flag=True, default=None,
            help="JSON Lines, as into a pipe.",
        ),
        click.Option(["--fields"], metavar="A,B", help="Only these fields."),
        click.Option(["--ids"], is_flag=True, help="Only addresses or ids, one a line."),
    ]  # fmt: skip


def asks(
    *operations: str,
    name: str,
    arguments: Sequence[click.Parameter] = (),
    without: Sequence[str] = (),
    more: Sequence[click.Option] = (),
) -> Callable[[Body], Command]:
    """Makes a command of an async function.

    Args:
        operations: What it asks for, by the names of the table.
        name: What the command is called.
        arguments: What it takes by position.
        without: Parameters of the operations that are no options of it, for it has them otherwise.
        more: Options of its own.
    """

    def made(body: Body) -> Command:
        def called(**given: Any) -> int | None:
            out = Output(
                as_json=given.pop("as_json"), fields=given.pop("fields"), ids=given.pop("ids")
            )
            store, wait = given.pop("store"), given.pop("wait")
            for who in ("actor", "by"):
                if who in given and given[who] is None:
                    given[who] = login()
            return ask(store, given.pop("namespace"), wait, body, out, given)

        of_table = options_of(operations, without)
        command = Command(
            name,
            callback=called,
            help=body.__doc__,
            params=[*arguments, *of_table, *more, *output_options(), *store_options()],
        )
        command.operations, command.without = operations, tuple(without)
        return command

    return made


def ask(
    store: str, namespace: str, wait: float, body: Body, out: Output, given: dict[str, Any]
) -> int | None:
    """Runs a command's function with a client of a store; returns its exit code.

    Raises:
        Failure: There is no store, or no such namespace or workflow.
        StepwellError: What the engine answers.
    """
    check_store(store)
    import trio

    from stepwell import Client, InvalidConfig, NoEngine

    from .logs import printed

    async def asked() -> int | None:
        async with Client(store, timeout=wait, namespace=namespace) as client:
            workflow = _workflow(given)
            try:
                code = await body(client, out, **given)
            except InvalidConfig as error:
                raise await _unknown(client, workflow, error) or error from None
            if out.told == 0 and (wrong := await not_there(client, namespace, workflow)):
                out.forget()
                raise wrong
            return code

    with printed(out.hold):
        try:
            code = trio.run(asked)
        except BaseException as error:
            if not isinstance(bare(error), NoEngine):  # else nothing that was read is an answer
                out.release()
            raise
        out.release()
        return code


async def not_there(client: Client, namespace: str, workflow: str | None) -> Failure | None:
    """Returns that nobody has heard of the namespace, or of the workflow, if that is why there was
    nothing to tell."""
    if namespace != "default" and namespace not in (names := await client.namespaces()):
        text = f'nothing was ever created in a namespace "{namespace}"; there is: {_listed(names)}.'
        return Failure(NOT_FOUND, text)
    return None if workflow is None else await unheard_of(client, workflow)


async def unheard_of(client: Client | ClientNamespace, workflow: str) -> Failure | None:
    """Returns that a workflow has neither code nor an instance, if that is so."""
    known = {it.workflow for it in await client.versions()}
    if workflow in known:
        return None
    return Failure(
        NOT_FOUND, f'there is no workflow "{workflow}"; there is: {_listed(sorted(known))}.'
    )


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - 20:,} more" if len(names) > 20 else ""
    return f"{', '.join(map(in_line, names[:20])) or 'none'}{more}"


def of_command(name: str) -> str:
    """Returns what the command that runs was given: its store, its namespace."""
    return str(click.get_current_context().params[name])


def check_store(store: str) -> None:
    """Returns if there is a store; nothing is made.

    Raises:
        Failure: There is none, or what is there is none.
    """
    if store == ":memory:":
        raise Failure(STORE, "a store in memory is its engine's alone; give the path of a file.")
    try:
        mode = os.stat(store).st_mode
    except FileNotFoundError:
        raise Failure(
            STORE,
            f"there is no store at {store}, and none was made. Say where it is: --store PATH, or "
            "STEPWELL_STORE.",
        ) from None
    except PermissionError:
        raise Failure(NOT_ALLOWED, f"{login()} may not look whether {store} is there.") from None
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise Failure(STORE, f"the store at {store} cannot be read: {why}.") from None
    if not stat.S_ISREG(mode):
        raise Failure(STORE, f"{store} is no file, and so no store.")
    if not os.access(store, os.R_OK):
        raise Failure(
            NOT_ALLOWED,
            f"{store} may not be read by {login()}; ask as the user whose engine it is.",
        )


def _workflow(given: dict[str, Any]) -> str | None:
    """Returns the workflow that was named, if it was one alone."""
    for name in ("workflow", "target", "of", "instance"):
        named = given.get(name)
        if isinstance(named, str) and named != LATEST:
            return named.partition("/")[0]
    targets: tuple[str, ...] = given.get("targets", ())
    return targets[0].partition("/")[0] if targets and targets[0] != LATEST else None


async def _unknown(
    client: Client | ClientNamespace, workflow: str | None, error: Exception
) -> Failure | None:
    """Returns that it was refused because nobody has heard of the workflow, if that is why."""
    from stepwell import StepwellError

    if workflow is None:
        return None
    try:
        known = {it.workflow for it in await client.versions()}
    except StepwellError:
        return None
    return None if workflow in known else Failure(NOT_FOUND, text_of(error))


def login() -> str:
    """Returns the name of whoever runs the command."""
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):
        return f"uid {os.getuid()}"
