"""Vector packing: items onto hosts, hosts emptied, load evened out, on arrays.

`make_board(Problem(…))` checks the arrays; `empty_hosts`, `place` and `even_out` work on copies of the board and return
where every item is. Deterministic, no clock, no randomness.
"""
