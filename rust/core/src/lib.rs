//! The engine of Stepwell, without Python.

pub mod history;
pub mod ids;
pub mod lifecycle;
pub mod store;
pub mod wait;
