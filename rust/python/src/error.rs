//! The one place where a failure of the core becomes an exception.

use pyo3::create_exception;
use pyo3::exceptions::PyException;
use pyo3::prelude::*;
use stepwell_core::error::{Error, Kind};

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

/// An argument makes no sense.
pub(crate) fn invalid(message: &str) -> PyErr {
    raise(&Error::new(Kind::Invalid, message))
}
