"""Thin Prefect tasks: one call into vmferry, one retry policy each."""
