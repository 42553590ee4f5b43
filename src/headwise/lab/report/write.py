"""`report.html`: one page that needs nothing from outside, for a run or work on several."""

from collections.abc import Callable, Iterable
from pathlib import Path

from headwise.errors import InputError
from headwise.files import write_text
from headwise.lab.outputs import (
    CHOICES,
    CLAIMS,
    COMPARISON,
    CONFIRMATION,
    CONTROL,
    CONTROL_ARMS,
    HEADS,
    LADDER,
    OOD,
    REPORT,
    SCALING,
    SWEEP,
    THINKING,
)
from headwise.lab.records import (
    is_run,
    read_choices,
    read_claims,
    read_comparison,
    read_control,
    read_heads,
    read_ladder,
    read_ood,
    read_scaling,
    read_sweep,
    read_thinking,
)
from headwise.lab.report.choices import choices_page
from headwise.lab.report.claims import claims_page
from headwise.lab.report.comparison import comparison_page
from headwise.lab.report.control import control_page
from headwise.lab.report.heads import heads_page
from headwise.lab.report.ladder import ladder_page
from headwise.lab.report.ood import ood_page
from headwise.lab.report.page import render
from headwise.lab.report.run import run_page
from headwise.lab.report.scaling import scaling_page
from headwise.lab.report.sweep import sweep_page
from headwise.lab.report.thinking import thinking_page
from headwise.training.files import METRICS, SUMMARY


def write_report(directory: Path | str) -> Path:
    """Write `report.html` into the directory of a run or of work on several; returns its path.

    Comparisons that are a part of the work (the sizes of a scaling, the arms of a control, the confirmation of a sweep)
    get pages of their own. A page holds its plots, style and data: no font, no file beside it, and no
    script but that of a run's page, on which the model is watched at work.

    Raises:
        InputError: the directory holds none of them, or a damaged file of theirs.
    """
    directory = Path(directory)
    page = next((page for file, (_, page) in PAGES.items() if (directory / file).is_file()), None)
    if page is None and not is_run(directory):
        works = ", ".join(f"{what} ({file})" for file, (what, _) in PAGES.items())
        raise InputError(f"{directory}: neither {works} nor a run ({SUMMARY} or {METRICS})")
    file = directory / REPORT
    write_text(file, page(directory) if page is not None else render(run_page(directory)))
    return file


def _comparison(directory: Path) -> str:
    return render(comparison_page(directory, read_comparison(directory)))


def _scaling(directory: Path) -> str:
    result = read_scaling(directory)
    _parts(directory, result["sizes"])  # first, as the page of the scaling names those of its sizes
    return render(scaling_page(directory, result))


def _control(directory: Path) -> str:
    result = read_control(directory)
    _parts(directory, [CONTROL_ARMS])
    return render(control_page(directory, result))


def _sweep(directory: Path) -> str:
    result = read_sweep(directory)
    _parts(directory, [CONFIRMATION])
    return render(sweep_page(directory, result))


def _ladder(directory: Path) -> str:
    return render(ladder_page(directory, read_ladder(directory)))


def _ood(directory: Path) -> str:
    result = read_ood(directory)
    _parts(directory, result.get("comparisons", ()))
    return render(ood_page(result))


def _heads(directory: Path) -> str:
    return render(heads_page(read_heads(directory)))


def _choices(directory: Path) -> str:
    return render(choices_page(read_choices(directory)))


def _thinking(directory: Path) -> str:
    return render(thinking_page(read_thinking(directory)))


def _claims(directory: Path) -> str:
    return render(claims_page(read_claims(directory)), "claims.html.j2")


def _parts(directory: Path, names: Iterable[str]) -> None:
    for name in names:
        if (directory / name / COMPARISON).is_file():
            write_report(directory / name)


PAGES: dict[str, tuple[str, Callable[[Path], str]]] = {
    COMPARISON: ("a comparison", _comparison),
    SCALING: ("a scaling", _scaling),
    CONTROL: ("a control", _control),
    SWEEP: ("a sweep", _sweep),
    LADDER: ("a ladder", _ladder),
    OOD: ("an out-of-distribution test", _ood),
    HEADS: ("a measurement of heads", _heads),
    CHOICES: ("a study of choices of heads", _choices),
    THINKING: ("a study of thinking longer", _thinking),
    CLAIMS: ("claims", _claims),
}
"""The file by which work on several runs is known -> what it is, and what writes its page as HTML."""
