"""What an operator starts; the file's stem is the flow's name in snake case."""
