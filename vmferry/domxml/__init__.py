"""Domain XML: `read` turns it into a `Vm`, `rewrite` into the destination's; `parse` trusts nothing."""
