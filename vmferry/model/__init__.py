"""Frozen values: shapes, units and invariants; no behaviour that touches the outside."""
