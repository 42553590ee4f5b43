"""`headwise train`: one run, or the rest of one."""

import json
from pathlib import Path

from headwise.commands.result import Result, key_values


def run(words: list[str], show: bool = False) -> Result:
    """Train, or with `show` only resolve the settings; the result is the run's summary."""
    from headwise.training import config, configuration

    own, overrides = configuration.take(words, ["resume"])
    resume = Path(own["resume"]) if "resume" in own else None
    base = config.read(resume).to_plain() if resume else None
    settings = configuration.load(overrides, base)
    if show:
        return Result(settings.to_plain(), [key_values(settings.to_plain())])

    from headwise.training.run import train

    directory = train(settings, resume)
    summary = json.loads((directory / "summary.json").read_text(encoding="utf-8"))
    return Result(summary, [key_values(summary), f"\nrun directory: {directory}"])
