"""`headwise report`: report.html for a run, or for work on several, and a table for a document."""

from dataclasses import dataclass
from typing import ClassVar

from headwise.commands.result import Result
from headwise.files import user_path
from headwise.lab.outputs import SWEEP
from headwise.lab.records import read_comparison, read_sweep
from headwise.lab.report.tables import insert_table
from headwise.lab.report.write import write_report
from headwise.schema import FilePath, argument


@dataclass(frozen=True)
class Options:
    """Write report.html for a run, a comparison, scaling, control, sweep, ladder, out-of-distribution test or claims.

    A page that needs nothing from outside: table, verdicts, learning curves, gates.

    Args:
        directory: of the run, comparison, scaling, control, sweep, ladder, out-of-distribution test or claims.
        markdown: a document that gets the table of a comparison or sweep too, between its lines
            <!-- result table --> and <!-- end of result table -->.
    """

    waits: ClassVar[str] = "drawing the page"

    directory: FilePath = argument()
    markdown: FilePath | None = None


def run(options: Options) -> Result:
    """Write the page, and the table where it is wanted."""
    directory = user_path(options.directory)
    written = {"report": str(write_report(directory))}
    if options.markdown is not None:
        result = read_sweep(directory) if (directory / SWEEP).is_file() else read_comparison(directory)
        insert_table(result, user_path(options.markdown))
        written["markdown"] = options.markdown
    return Result(written, [f"{name}: {path}" for name, path in written.items()])
