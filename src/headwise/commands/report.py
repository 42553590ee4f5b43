"""`headwise report`: report.html for a comparison or a run that is on disk, and its table for a document."""

from pathlib import Path

from headwise.commands.result import Result
from headwise.errors import InputError


def run(words: list[str]) -> Result:
    """Write the page for the directory in `words`; with `markdown=FILE` put a comparison's table into that file too."""
    from headwise.lab.records import read_comparison
    from headwise.lab.report.tables import insert_table
    from headwise.lab.report.write import write_report
    from headwise.training import configuration

    own, directories = configuration.take(words, ["markdown"])
    if len(directories) != 1:
        raise InputError(f"report: takes one directory, got {len(directories)}: headwise report <directory>")
    directory = Path(directories[0])
    page = write_report(directory)
    written = {"report": str(page)}
    if "markdown" in own:
        insert_table(read_comparison(directory), Path(own["markdown"]))
        written["markdown"] = str(own["markdown"])
    return Result(written, [f"{name}: {path}" for name, path in written.items()])
