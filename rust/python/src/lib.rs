//! The extension module `stepwell._core`: the border, and nothing but the border.
//!
//! Arguments become plain data, notes become tuples, failures become `CoreError` in one place.
//! No Python object is kept; a call that would wait releases the GIL first. What the calls mean
//! is written in `python/stepwell/_core.pyi`.

#![cfg_attr(not(test), warn(clippy::disallowed_methods, clippy::unwrap_used))]

mod arguments;
mod body;
mod core;
mod error;
mod notes;

use pyo3::prelude::*;

use crate::core::Core;

/// Codes of notes, by their first element.
const NOTES: [(&str, u8); 12] = [
    ("DONE", notes::DONE),
    ("REPLY", notes::REPLY),
    ("START", notes::START),
    ("WAKE", notes::WAKE),
    ("SETTLED", notes::SETTLED),
    ("TIMER", notes::TIMER),
    ("CHANGED", notes::CHANGED),
    ("UNWIND", notes::UNWIND),
    ("FENCED", notes::FENCED),
    ("IDLE", notes::IDLE),
    ("FAILED", notes::FAILED),
    ("HINDERED", notes::HINDERED),
];

/// Codes in a REPLY.
const ERRORS: [&str; 11] = [
    "not_found",
    "exists",
    "state",
    "missing_code",
    "overloaded",
    "limit",
    "closed",
    "store",
    "corrupt",
    "invalid",
    "same_id_other_params",
];

#[pymodule]
fn _core(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    for (name, code) in NOTES {
        module.add(name, code)?;
    }
    module.add("ERRORS", pyo3::types::PyTuple::new(module.py(), ERRORS)?)?;
    module.add("CoreError", module.py().get_type::<error::CoreError>())?;
    module.add_class::<Core>()
}
