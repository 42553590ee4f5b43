"""A file is kept where ONNX Runtime computes what torch does, and says what a program needs to run it."""

import copy
import json
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch

pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")

from headwise.cli import main
from headwise.errors import InputError
from headwise.lab.export import onnx_file
from headwise.lab.export.onnx_file import runtime, unrolled
from headwise.training.config import RunConfig
from headwise.training.evaluation import load, overridden, saved
from tests.drivers.exports import exported
from tests.drivers.sound_runs import configurations
from tests.lab.thinking.conftest import trained

LOOP = {"refinement": {"steps": 4, "injection": "input"}}
SORTING = {"name": "sorting", "length": 5, "train_examples": 24, "validation_examples": 8, "test_examples": 8}
COVERING = [
    *("sorting pointer", "maze top_p", "walk oracle", "sudoku trm", "language hrm_token"),
    *("maze_characters classical", "parsing hrm_act"),
]
"""Every task that is exported, and between them every kind of router, gate, controller and recursion; all the others
are for `python -m tests.drivers.exports`, which takes minutes."""
SHORTER: dict[str, dict[str, Any]] = {
    "hrm_token": {"arm.controller.period": 2},
    "trm": {"arm.refinement.recursion.period": 2, "arm.refinement.steps": 6},
}
"""A step of the graph is as many refinement steps as something goes by turns: two of them, for seconds less each."""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained(tmp_path_factory.mktemp("export"), SORTING, LOOP)


@dataclass(frozen=True)
class File:
    """A step model, what the export said of it, and what it had in hand."""

    path: Path
    said: dict[str, Any]
    made: onnx_file.Exported


@pytest.fixture(scope="module")
def file(run: Path, tmp_path_factory: pytest.TempPathFactory) -> File:
    path, made = tmp_path_factory.mktemp("file") / "model.onnx", list[onnx_file.Exported]()

    def kept(*arguments: Any) -> onnx_file.Exported:
        made.append(traced(*arguments))
        return made[0]

    traced = onnx_file.traced
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(onnx_file, "traced", kept)
        said = onnx_file.export(run, path, say=lambda line: None)
    return File(path, said, made[0])


@pytest.mark.parametrize("name", COVERING)
def test_arms_of_all_tasks_agree_with_torch(name: str) -> None:
    task, arm = name.split()
    ((_, config),) = configurations(1, [task], arms=[arm])
    made, compared = exported(RunConfig.from_plain(overridden(config.to_plain(), SHORTER.get(arm, {}))))
    assert {one["steps"] for one in compared} == {made.about["steps"] * count for count in onnx_file.COUNTS}
    assert len({json.dumps(one["sizes"]) for one in compared}) > 1


def test_the_batch_and_the_length_stay_open(file: File) -> None:
    said = file.said
    assert said["inputs"]["values"] == ["batch", "values_1"]
    assert said["outputs"]["prediction"] == ["batch", "values_1", "values_1"]
    assert {one["sizes"]["values"][1] for one in said["compared"]} > {5}
    assert said["largest_difference"] <= 1e-4


def test_a_program_runs_the_file_with_what_its_metadata_say(file: File, run: Path) -> None:
    """Three steps of a batch of one, of a length that it was not made from, are the model with three steps."""
    import numpy as np

    session = runtime().InferenceSession(str(file.path))
    about = session.get_modelmeta().custom_metadata_map
    assert (about["task"], about["form"], about["steps"], about["steps_trained"]) == ("sorting", "one_step", "1", "4")
    assert RunConfig.from_plain(json.loads(about["config"])) == saved(run)[0]
    values, seen = (
        torch.tensor([[30, 0, 12, 77, 5, 61, 9]]),
        torch.tensor([[True, False, True, True, True, True, True]]),
    )
    feed = {"values": values.numpy(), "visible": seen.numpy(), "steps_taken": np.zeros(1, dtype=np.int64)}
    feed |= {name: np.full((1, 7, 16), 9, dtype=np.float32) for name in json.loads(about["state"])}
    outputs = [tensor.name for tensor in session.get_outputs()]
    for _ in range(3):
        found = dict(zip(outputs, session.run(outputs, feed), strict=True))
        feed |= {name.removeprefix("next_"): array for name, array in found.items() if name.startswith("next_")}
    model = load(run)
    model.backbone.refiner.config = unrolled(saved(run)[0], 3)
    batch = {"values": values, "visible": seen}
    with torch.no_grad():
        expected = model.task.read_out(model(batch).states[-1], batch)
    torch.testing.assert_close(torch.from_numpy(found["prediction"]), expected, atol=1e-4, rtol=1e-4)
    assert found["next_steps_taken"].tolist() == [3]


def test_unrolled_the_question_alone_goes_in(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "new" / "model.onnx"
    assert main(["export", str(run), "onnx", "steps=2", f"output={output}", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["form"], said["steps"]) == ("unrolled", 2)
    assert set(said["inputs"]) == {"values", "visible"}
    assert set(said["outputs"]) == {"prediction"}
    assert output.stat().st_size == said["bytes"]


def test_a_file_that_computes_something_else_is_not_kept(
    run: Path, file: File, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The weights are others than those that were traced."""
    graph = copy.deepcopy(file.made.graph)
    with torch.no_grad():
        next(graph.model.task.scores.parameters()).mul_(1.001)
    monkeypatch.setattr(onnx_file, "traced", lambda *arguments: replace(file.made, graph=graph))
    output = tmp_path / "model.onnx"
    assert main(["export", str(run), f"output={output}"]) == 1
    assert "ONNX Runtime and torch differ by" in capsys.readouterr().err
    assert not output.exists()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["steps=0"], "steps=0: choose at least 1"),
        (["tflite"], "choose one of onnx"),
        (["arm.halting=ponder"], "arm.halting"),
        (["task.size=3"], "unknown key"),
    ],
)
def test_mistakes_are_one_line_and_nothing_is_written(
    words: list[str], says: str, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "model.onnx"
    assert main(["export", str(run), *words, f"output={output}"]) == 2
    message = capsys.readouterr().err
    assert says in message
    assert message.count("\n") == 1
    assert not output.exists()


def test_an_output_that_is_there_is_left_alone(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "model.onnx"
    output.write_text("mine")
    assert main(["export", str(run), f"output={output}"]) == 2
    assert "is there already" in capsys.readouterr().err
    assert output.read_text() == "mine"


def test_a_run_without_weights_is_refused(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "config.yaml").write_bytes((run / "config.yaml").read_bytes())
    assert main(["export", str(tmp_path), f"output={tmp_path / 'model.onnx'}"]) == 2
    assert "no model.json there" in capsys.readouterr().err


def test_without_the_extra_the_command_says_what_to_install(
    run: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(InputError, match="headwise\\[onnx\\]"):
        onnx_file.export(run, tmp_path / "model.onnx")
