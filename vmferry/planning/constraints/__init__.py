"""Placement constraints: read, checked for contradictions, handed to the solver, checked on states."""
