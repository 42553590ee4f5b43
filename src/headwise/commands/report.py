"""`headwise report`: report.html for a comparison or a run that is on disk."""

from pathlib import Path

from headwise.commands.result import Result
from headwise.errors import InputError


def run(words: list[str]) -> Result:
    """Write the page for the directory `words[0]`."""
    if len(words) != 1:
        raise InputError(f"report: takes one directory, got {len(words)}: headwise report <directory>")

    from headwise.lab.report import write_report

    page = write_report(Path(words[0]))
    return Result({"report": str(page)}, [f"report: {page}"])
