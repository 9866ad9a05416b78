//! The extension module `stepwell._core`: the border, and nothing but the border.
//!
//! Arguments become plain data, notes become tuples, failures become `CoreError` in one place.
//! No Python object is kept; a call that would wait releases the GIL first. What the calls mean
//! is written in `python/stepwell/_core.pyi`.

#![cfg_attr(not(test), warn(clippy::disallowed_methods, clippy::unwrap_used))]

mod acts;
mod arguments;
mod body;
mod codes;
mod core;
mod error;
mod file;
mod looks;
mod notes;
mod schedules;

use pyo3::prelude::*;

use crate::core::Core;

#[pymodule]
fn _core(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    codes::add(module)?;
    module.add("CoreError", module.py().get_type::<error::CoreError>())?;
    module.add_class::<file::StoreFile>()?;
    module.add_class::<Core>()
}
