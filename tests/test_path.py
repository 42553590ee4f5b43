"""The way of a batch from `headwise train` to the loss: the README names the files, and they are few."""

import re
import traceback
from pathlib import Path
from typing import Any

import pytest

import headwise
from headwise.cli import main
from headwise.reasoning.refiner import Refiner
from headwise.tasks.sorting.model import SortingTask

PACKAGE = Path(headwise.__file__).parent
README = Path(__file__).parents[1] / "README.md"


def named() -> list[str]:
    """The files that the README names, in its order."""
    text = README.read_text(encoding="utf-8")
    sentence = text[text.index("From `headwise train` to the loss") :].partition("\n\n")[0]
    return re.findall(r"`([\w/]+\.py)`", sentence)


def test_a_batch_passes_at_most_nine_files_and_the_readme_names_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    passed: set[str] = set()

    def noting(function: Any) -> Any:
        def noted(*arguments: Any, **options: Any) -> Any:
            passed.update(frame.filename for frame in traceback.extract_stack())
            return function(*arguments, **options)

        return noted

    monkeypatch.setattr(SortingTask, "loss", noting(SortingTask.loss))
    monkeypatch.setattr(Refiner, "_all_steps", noting(Refiner._all_steps))
    settings = ["task=sorting", "arm=hrm", "quick=true", "training.updates=1", "training.loggers=[]"]
    assert main(["train", *settings, f"output={tmp_path}"]) == 0
    passed.add(SortingTask.loss.__code__.co_filename)
    ours = {Path(file).relative_to(PACKAGE).as_posix() for file in passed if Path(file).is_relative_to(PACKAGE)}
    ours = ours - {"cli.py", "training/scoring.py", "training/validation.py"} | {"tasks/sorting/model.py"}
    assert ours == set(named())
    assert len(named()) <= 9
