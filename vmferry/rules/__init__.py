"""Preflight: one small pure function per rule, one row per rule in `table`, all judged by `check_move`."""
