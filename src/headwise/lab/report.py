"""`report.html`: one page that needs nothing from outside, for a comparison or for a run that is on disk."""

from pathlib import Path

from headwise.errors import InputError
from headwise.lab.page import render
from headwise.lab.records import COMPARISON, REPORT, is_run, read_comparison, write_text
from headwise.lab.report_comparison import comparison_page
from headwise.lab.report_run import run_page


def write_report(directory: Path | str) -> Path:
    """Write `report.html` into the directory of a comparison or of a run (finished or not), and return its path.

    The page holds its plots, style and data: no script, no font, no file beside it.

    Raises:
        InputError: the directory holds neither, or a damaged comparison.
    """
    directory = Path(directory)
    if (directory / COMPARISON).is_file():
        page = comparison_page(directory, read_comparison(directory))
    elif is_run(directory):
        page = run_page(directory)
    else:
        raise InputError(f"{directory}: neither a comparison ({COMPARISON}) nor a run (summary.json or metrics.jsonl)")
    file = directory / REPORT
    write_text(file, render(page))
    return file
