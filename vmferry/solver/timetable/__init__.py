"""When jobs start that share links, places and room: list schedules, iterated greedy, bounds."""
