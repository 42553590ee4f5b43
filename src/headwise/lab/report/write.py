"""`report.html`: one page that needs nothing from outside, for a run or work on several: comparison, scaling, control,
sweep, ladder, out-of-distribution test."""

from pathlib import Path

from headwise.errors import InputError
from headwise.files import write_text
from headwise.lab.outputs import COMPARISON, CONFIRMATION, CONTROL, CONTROL_ARMS, LADDER, OOD, REPORT, SCALING, SWEEP
from headwise.lab.records import (
    is_run,
    read_comparison,
    read_control,
    read_ladder,
    read_ood,
    read_scaling,
    read_sweep,
)
from headwise.lab.report.comparison import comparison_page
from headwise.lab.report.control import control_page
from headwise.lab.report.ladder import ladder_page
from headwise.lab.report.ood import ood_page
from headwise.lab.report.page import render
from headwise.lab.report.run import run_page
from headwise.lab.report.scaling import scaling_page
from headwise.lab.report.sweep import sweep_page
from headwise.training.files import METRICS, SUMMARY


def write_report(directory: Path | str) -> Path:
    """Write `report.html` into the directory of a run or of work on several; returns its path.

    With a scaling, each of its sizes gets the page of its comparison, with a control its arms, and with a sweep its
    confirmation. A page holds its plots, style and data: no script, no font, no file beside it.

    Raises:
        InputError: the directory holds none of them, or a damaged file of theirs.
    """
    directory = Path(directory)
    if (directory / COMPARISON).is_file():
        page = comparison_page(directory, read_comparison(directory))
    elif (directory / SCALING).is_file():
        result = read_scaling(directory)
        for size in result["sizes"]:  # first, as the page of the scaling names those of its sizes
            if (directory / size / COMPARISON).is_file():
                write_report(directory / size)
        page = scaling_page(directory, result)
    elif (directory / CONTROL).is_file():
        result = read_control(directory)
        if (directory / CONTROL_ARMS / COMPARISON).is_file():
            write_report(directory / CONTROL_ARMS)
        page = control_page(directory, result)
    elif (directory / SWEEP).is_file():
        result = read_sweep(directory)
        if (directory / CONFIRMATION / COMPARISON).is_file():
            write_report(directory / CONFIRMATION)
        page = sweep_page(directory, result)
    elif (directory / LADDER).is_file():
        page = ladder_page(directory, read_ladder(directory))
    elif (directory / OOD).is_file():
        result = read_ood(directory)
        for name in result.get("comparisons", ()):
            if (directory / name / COMPARISON).is_file():
                write_report(directory / name)
        page = ood_page(result)
    elif is_run(directory):
        page = run_page(directory)
    else:
        works = f"a comparison ({COMPARISON}), a scaling ({SCALING}), a control ({CONTROL}), a sweep ({SWEEP})"
        works += f", a ladder ({LADDER}), an out-of-distribution test ({OOD})"
        files = f"{works} nor a run ({SUMMARY} or {METRICS})"
        raise InputError(f"{directory}: neither {files}")
    file = directory / REPORT
    write_text(file, render(page))
    return file
