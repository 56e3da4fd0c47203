"""Read, prepare, move, look, undo, recover: what touches hosts, on ports only."""
