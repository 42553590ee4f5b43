"""`report.html`: one page that needs nothing from outside, for a comparison, a scaling or a run that is on disk."""

from pathlib import Path

from headwise.errors import InputError
from headwise.lab.page import render
from headwise.lab.records import COMPARISON, REPORT, SCALING, is_run, read_comparison, read_scaling, write_text
from headwise.lab.report_comparison import comparison_page
from headwise.lab.report_run import run_page
from headwise.lab.report_scale import scaling_page


def write_report(directory: Path | str) -> Path:
    """Write `report.html` into the directory of a comparison, a scaling or a run (finished or not); returns its path.

    The page holds its plots, style and data: no script, no font, no file beside it.

    Raises:
        InputError: the directory holds none of them, or a damaged comparison or scaling.
    """
    directory = Path(directory)
    if (directory / COMPARISON).is_file():
        page = comparison_page(directory, read_comparison(directory))
    elif (directory / SCALING).is_file():
        page = scaling_page(directory, read_scaling(directory))
    elif is_run(directory):
        page = run_page(directory)
    else:
        files = f"a comparison ({COMPARISON}), a scaling ({SCALING}) nor a run (summary.json or metrics.jsonl)"
        raise InputError(f"{directory}: neither {files}")
    file = directory / REPORT
    write_text(file, render(page))
    return file
