"""`headwise evaluate`: the model of a finished run, on its own test set or on another."""

from headwise.commands.result import Result, key_values
from headwise.errors import InputError


def run(words: list[str]) -> Result:
    """Score the run in the directory `words[0]` under the overrides behind it."""
    if not words:
        raise InputError("evaluate: which run? write headwise evaluate <run directory> [key=value ...]")

    from headwise.training import configuration
    from headwise.training.run import evaluate

    overrides = [configuration.parse(word) for word in words[1:]]
    summary = evaluate(words[0], {override.key: override.value for override in overrides})
    return Result(summary, [key_values(summary)])
