"""Infrastructure that vmferry is tested and run on; no part of the product imports it."""
