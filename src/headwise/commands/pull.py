"""`headwise pull`: a shared model, as the directory of a run."""

from dataclasses import dataclass

from headwise.commands.result import Result
from headwise.schema import FilePath, argument
from headwise.training.hub import pull


@dataclass(frozen=True)
class Options:
    """Fetch a model that headwise push shared, as the directory of a run.

    It is evaluated, shown and used like a run that was trained here. Nothing that comes with it is executed. Needs
    headwise[hub], but for a folder.

    Args:
        source: owner/name on the Hub; ./folder; https://server/owner/name on another server.
        output: a new directory for the run; null is runs/ and the model's name.
        revision: branch, tag or commit of a repository; null is its main branch.
    """

    source: str = argument()
    output: FilePath | None = None
    revision: str | None = None


def run(options: Options) -> Result:
    """Fetch the model, and say where it is."""
    directory = pull(options.source, options.output, revision=options.revision)
    return Result({"run": str(directory)}, [f"run directory: {directory} (its card: {directory}/README.md)"])
