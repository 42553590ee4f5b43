"""The commands of the command line, one file each; `headwise.cli` loads the one that was asked for.

Each file has a dataclass `Options`, whose docstring is the command's help (`headwise.commands.words` fills it from the
words behind the command's name), and `run(options)`, which returns a `Result`.
"""
