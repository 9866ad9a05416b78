"""Benchmarks of Stepwell: `python -m benches`, or `pytest benches --benchmark-only`."""
