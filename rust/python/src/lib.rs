//! The extension module `stepwell._core`.
