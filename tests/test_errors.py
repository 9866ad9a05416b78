"""Every error can be caught as what the documentation says it is."""

import copy
import pickle

import pytest

import stepwell
from stepwell import (
    ApprovalTimeout,
    ErrorInfo,
    EventTimeout,
    InstanceErrored,
    InstanceNotFound,
    InvalidConfig,
    InvalidName,
    Overloaded,
    StepFailed,
    StepTimeout,
    StepwellError,
)

PUBLIC = [getattr(stepwell, name) for name in stepwell.__all__]
CLASSES = [it for it in PUBLIC if isinstance(it, type) and issubclass(it, BaseException)]


@pytest.mark.parametrize("error", CLASSES)
def test_every_error_is_a_stepwell_error_made_from_its_message(error: type[StepwellError]) -> None:
    assert issubclass(error, StepwellError)
    assert str(error("what happened")) == "what happened"
    assert error.__doc__


@pytest.mark.parametrize("error", CLASSES)
def test_every_error_survives_pickle_and_copy(error: type[StepwellError]) -> None:
    original = error("what happened")
    for twin in (
        pickle.loads(pickle.dumps(original)),
        copy.copy(original),
        copy.deepcopy(original),
    ):
        assert type(twin) is error
        assert str(twin) == "what happened"
        assert vars(twin) == vars(original)


def test_attributes_survive_pickle() -> None:
    twin = pickle.loads(pickle.dumps(Overloaded("busy", retry_after=1.5, limit="create_rate")))
    assert (twin.retry_after, twin.limit) == (1.5, "create_rate")
    twin = pickle.loads(pickle.dumps(InstanceErrored("no", error=ErrorInfo("a.B", "text"))))
    assert twin.error == ErrorInfo("a.B", "text")


def test_bases_are_those_a_caller_expects() -> None:
    assert issubclass(InvalidName, ValueError)
    assert issubclass(InvalidConfig, ValueError)
    for timeout in (StepTimeout, EventTimeout, ApprovalTimeout):
        assert issubclass(timeout, TimeoutError)
    assert issubclass(StepTimeout, StepFailed)


def test_an_error_about_an_instance_names_it() -> None:
    error = InstanceNotFound("gone", workflow="order", id="o-1")
    assert (error.workflow, error.id) == ("order", "o-1")


@pytest.mark.parametrize(
    ("attempts", "message", "expected"),
    [
        (3, "card expired", 'step "fetch" failed after 3 attempts: PaymentDeclined: card expired'),
        (1, "", 'step "fetch" failed after 1 attempt: PaymentDeclined'),
    ],
)
def test_a_failed_step_has_a_text_of_its_own(attempts: int, message: str, expected: str) -> None:
    error = StepFailed(message, step="fetch", attempts=attempts, type="shop.PaymentDeclined")
    assert str(error) == expected
    assert str(ErrorInfo("shop.PaymentDeclined", message, "fetch", attempts)) == expected


def test_a_missing_attribute_of_a_failed_step_says_that_it_was_not_recorded() -> None:
    error = StepFailed("x", step="fetch")
    with pytest.raises(AttributeError, match='"response" was not recorded'):
        _ = error.response
    assert not hasattr(error, "__missing__")


def test_an_error_of_the_body_has_no_step() -> None:
    assert str(ErrorInfo("builtins.KeyError", "'x'")) == "KeyError: 'x'"
