"""One module per benchmark; each registers itself with `tests.bench.registry.benchmark`."""
