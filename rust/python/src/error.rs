//! The one place where a failure of the core becomes an exception.

use pyo3::create_exception;
use pyo3::exceptions::PyException;
use pyo3::prelude::*;
use stepwell_core::error::{Error, Kind};
use stepwell_core::runtime::Engine;

create_exception!(
    stepwell._core,
    CoreError,
    PyException,
    "args: (kind, message)."
);

/// Turns a failure into `CoreError(kind, message)`.
pub(crate) fn raise(error: &Error) -> PyErr {
    CoreError::new_err((error.kind.as_str(), error.message.clone()))
}

/// The engine was closed.
pub(crate) fn closed() -> PyErr {
    raise(&Error::new(Kind::Closed, "the engine is closed"))
}

/// The engine is closed, or is that of the process from which this one was forked.
pub(crate) fn unusable(engine: &Engine) -> PyErr {
    if engine.is_ours() {
        return closed();
    }
    let message = "this process was forked from the one that opened the engine";
    raise(&Error::new(Kind::Closed, message))
}

/// An argument makes no sense.
pub(crate) fn invalid(message: &str) -> PyErr {
    raise(&Error::new(Kind::Invalid, message))
}
