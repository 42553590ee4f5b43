"""The commands of the command line, one file each; `headwise.cli` loads the one that was asked for.

Each file has `run(words, ...)`, which reads the words behind the command's name and returns a `Result`.
"""
