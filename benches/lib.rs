//! Criterion benchmarks of the core; see the files beside this one.
