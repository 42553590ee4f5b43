"""A model watched at work on an example: its answer after each step, and what its heads did then."""
