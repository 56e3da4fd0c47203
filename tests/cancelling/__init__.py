"""Evacuations of the lab, cancelled at random moments: `python -m tests.cancelling`, and a handful in pytest."""
