"""The laws that every arm, gate function and task keeps, as functions: our tests run them, and so can a plugin's.

Each takes what it is about and returns what is wrong, in lines; none where the law holds. `headwise check-laws` runs
them over what a plugin registers. What they walk over comes from the registries: a member is covered by its `examples`.
"""
