"""Benchmarks: `python -m tests.bench`, as root. Each one is a module of `tests.bench.suite`."""
