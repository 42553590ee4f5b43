"""The progress of a comparison: which runs train, how far they are, nothing cut at 80 columns."""

import io
import json
from pathlib import Path

from rich.console import Console

from headwise.lab.comparison.display import MOST, Display
from headwise.lab.comparison.runs import PlannedRun
from tests.lab.conftest import run_config


def planned(folder: Path, label: str, seed: int = 0) -> PlannedRun:
    directory = folder / label / f"seed{seed}"
    directory.mkdir(parents=True)
    return PlannedRun(label, seed, run_config("baseline"), directory, "medium")


def shown(display: Display, console: Console) -> list[str]:
    """The lines as a terminal shows them."""
    with console.capture() as capture:
        console.print(display._bars.get_renderable())
    return capture.get().splitlines()


def test_every_run_that_trains_is_shown_whole_at_80_columns(tmp_path: Path) -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=80, no_color=True)
    label = "hrm:refinement.steps=12,controller.period=4,gate.name=top_k,gate.k=2"
    runs = [planned(tmp_path, "baseline"), planned(tmp_path, "other"), planned(tmp_path, label)]
    display = Display(runs, console)
    assert "0/3 runs" in shown(display, console)[0]
    display.begin(runs[0])
    display.begin(runs[2])
    progress = runs[2].directory / "progress.json"
    progress.write_text(json.dumps({"update": 30, "metric": "rank_tau_visible", "value": 0.98765}))
    lines = shown(display, console)
    text = "\n".join(lines)
    assert all(len(line.rstrip()) <= 80 for line in lines)
    assert "…" not in text
    assert "starting" in text
    for part in ("30/40", "rank_tau_visible 0.9877", "baseline, seed", "k=2, seed 0"):
        assert part in text
    progress.unlink()  # the last update is taken
    assert any("testing" in line for line in shown(display, console))
    display.end(runs[2], None)
    assert "1/3 runs" in shown(display, console)[0]
    assert "testing" not in "\n".join(shown(display, console))


def test_of_many_runs_those_that_train_are_shown_first(tmp_path: Path) -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=80, no_color=True)
    runs = [planned(tmp_path, f"arm{seed}", seed) for seed in range(2 * MOST)]
    display = Display(runs, console)
    for run in runs:
        display.begin(run)
    (runs[-1].directory / "progress.json").write_text('{"update": 3, "metric": "loss", "value": 1.5}')
    lines = shown(display, console)
    assert len(lines) == 1 + MOST
    assert any("loss 1.5000" in line for line in lines)


def test_without_a_terminal_there_is_a_line_for_each_run_that_has_ended(tmp_path: Path) -> None:
    out = io.StringIO()
    runs = [planned(tmp_path, "baseline"), planned(tmp_path, "hrm")]
    with Display(runs, Console(file=out, width=80)) as display:
        for run, failure in zip(runs, (None, "RuntimeError: " + 9 * "a long reason "), strict=True):
            display.begin(run)
            display.end(run, failure)
    first, second = out.getvalue().splitlines()
    assert first == "medium baseline, seed 0 trained (1/2)"
    assert second.startswith("medium hrm, seed 0 failed: RuntimeError")


def test_in_a_log_each_run_has_a_line_whatever_its_label(tmp_path: Path) -> None:
    console = Console(file=io.StringIO(), width=80)
    label = "baseline:router={name: learned, granularity: layer},gate=unit,refinement.steps=12,[bold]"
    run = planned(tmp_path, label)
    display = Display([run], console)
    display.begin(run)
    display.end(run, None)
    assert console.file.getvalue() == f"{run.name} trained (1/1)\n"  # type: ignore[attr-defined]
