"""`headwise train`: one run, or the rest of one."""

from dataclasses import dataclass

from headwise.commands.result import Result, key_values
from headwise.files import read_json, user_path
from headwise.schema import FilePath, run_settings
from headwise.training import config, configuration


@dataclass(frozen=True)
class Options:
    """Train one arm on one task.

    task=, arm= and training= choose a file of values; keys with dots, such as arm.gate.k=2, set single ones. The result
    is the run's summary.

    Args:
        resume: directory of a run that stopped; it goes on from there, with its own settings.
        show: print the resolved settings, and train nothing.
        settings: of the run.
    """

    resume: FilePath | None = None
    show: bool = False
    settings: tuple[str, ...] = run_settings()


def run(options: Options) -> Result:
    """Train, or go on; with `show` only resolve the settings."""
    resume = None if options.resume is None else user_path(options.resume)
    base = None if resume is None else config.read(resume).to_plain()
    settings = configuration.load(options.settings, base)
    if options.show:
        return Result(settings.to_plain(), [key_values(settings.to_plain())])

    from headwise.training.run import train

    directory = train(settings, resume)
    summary = read_json(directory / "summary.json")
    return Result(summary, [key_values(summary), f"\nrun directory: {directory}"])
