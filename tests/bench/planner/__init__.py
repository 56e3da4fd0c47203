"""What the planner's benchmarks share: fleets with a seed, the real htools, BtrPlace's instances."""
