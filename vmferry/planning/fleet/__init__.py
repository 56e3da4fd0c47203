"""Plans of a whole fleet: a snapshot becomes arrays, the solver places, and the answer becomes moves with reasons."""
