"""Every operation of the table has a command, and every option of one comes from the table."""

import typing

import click
import pytest
from commands import piped

import stepwell
from stepwell import Status, cli
from stepwell._engine.table import BY_NAME, OPERATIONS
from stepwell._steps import signatures
from stepwell.cli import exits, groups, options, values
from stepwell.cli.asking import output_options, store_options

ALL = {
    name if member is command else f"{name} {member.name}": member
    for name in cli.COMMANDS
    for command in [cli.load(name)]
    for member in groups.members(command)
}
ASKING = {name: it for name, it in ALL.items() if getattr(it, "operations", ())}
WITHOUT_OPERATIONS = {"run", "demo", "completion", "doctor"}
"""Commands that ask no engine for anything."""


def test_every_operation_has_a_command_or_a_reason_why_not():
    asked = {name for it in ASKING.values() for name in it.operations}
    assert asked | cli.UNCOMMANDED.keys() == BY_NAME.keys()
    assert asked & cli.UNCOMMANDED.keys() == set()
    assert ALL.keys() - ASKING.keys() <= WITHOUT_OPERATIONS


@pytest.mark.parametrize("name", ASKING)
def test_every_parameter_is_an_option_or_taken_otherwise(name):
    command = ASKING[name]
    taken = {it.name for it in command.params}
    known = {it.name for of in command.operations for it in BY_NAME[of].parameters}
    for of in command.operations:
        for it in BY_NAME[of].parameters:
            assert it.name in taken or it.name in command.without, f"{of}: {it.name}"
    assert set(command.without) <= known, "what it goes without is no parameter"


@pytest.mark.parametrize("name", ASKING)
def test_no_option_is_given_twice(name):
    flags = [flag for it in ASKING[name].params for flag in it.opts if flag.startswith("-")]
    assert len(flags) == len(set(flags))
    common = {it.name for it in (*output_options(), *store_options())}
    assert common <= {it.name for it in ASKING[name].params}


@pytest.mark.parametrize("name", ALL)
def test_every_command_has_help_for_all_of_its_options(name):
    command = ALL[name]
    assert command.help
    for it in command.params:
        assert not isinstance(it, click.Option) or it.help, it.opts
    done = piped(*name.split(), "--help")
    assert done.code == 0
    assert f"Usage: stepwell {name} " in done.out


def test_words_are_those_of_the_types():
    assert list(options.STATES) == [it.value for it in Status]
    for name, of in {
        "if_exists": signatures.IfExists,
        "on_overload": signatures.OnOverload,
        "catch_up": signatures.CatchUp,
        "overlap": signatures.Overlap,
    }.items():
        made = options.WORDS[name](options.Parameter(name, "", "None"))
        assert tuple(made.type.choices) == typing.get_args(of)
    filters = {it.name for it in BY_NAME["engine.pause"].parameters}
    assert set(options.FILTERS) <= filters


def test_no_words_are_left_over():
    assert options.WORDS.keys() <= {it.name for row in OPERATIONS for it in row.parameters}


def test_every_error_has_an_exit_code():
    for name in stepwell.__all__:
        it = getattr(stepwell, name)
        if isinstance(it, type) and issubclass(it, stepwell.StepwellError):
            assert exits.code_of(it("x")) is not None
    told = {
        "InstanceErrored": 1, "InvalidConfig": 2, "InstanceNotFound": 3, "InvalidState": 4,
        "InstanceExists": 4, "Overloaded": 5, "NoEngine": 6, "StoreLocked": 8,
        "RequestTimeout": 124,
    }  # fmt: skip
    assert {name: exits.code_of(getattr(stepwell, name)("x")) for name in told} == told
    assert exits.code_of(KeyboardInterrupt()) == 130
    assert exits.code_of(PermissionError()) == 7
    assert exits.code_of(AttributeError()) is None


def test_fields_that_hold_values_of_users_are_known():
    held = set()
    for name in stepwell.__all__:
        of = getattr(stepwell, name)
        if isinstance(of, type):
            held |= {
                field
                for field, hint in vars(of).get("__annotations__", {}).items()
                if getattr(hint, "__forward_arg__", hint) == "Any"
            }
    assert held - {"retention"} <= values.VALUES
