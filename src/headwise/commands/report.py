"""`headwise report`: report.html for a comparison, scaling, control, ladder or run, and a table for a document."""

from dataclasses import dataclass

from headwise.commands.result import Result
from headwise.files import user_path
from headwise.lab.records import read_comparison
from headwise.lab.report.tables import insert_table
from headwise.lab.report.write import write_report
from headwise.schema import FilePath, argument


@dataclass(frozen=True)
class Options:
    """Write report.html for a comparison, scaling, control, ladder, out-of-distribution test or run.

    A page that needs nothing from outside: table, verdicts, learning curves, gates.

    Args:
        directory: of the comparison, scaling, control, ladder, out-of-distribution test or run.
        markdown: a document that gets the table of a comparison too, between its lines <!-- result table --> and
            <!-- end of result table -->.
    """

    directory: FilePath = argument()
    markdown: FilePath | None = None


def run(options: Options) -> Result:
    """Write the page, and the table where it is wanted."""
    directory = user_path(options.directory)
    written = {"report": str(write_report(directory))}
    if options.markdown is not None:
        insert_table(read_comparison(directory), user_path(options.markdown))
        written["markdown"] = options.markdown
    return Result(written, [f"{name}: {path}" for name, path in written.items()])
