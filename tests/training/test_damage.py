"""Whatever a checkpoint or a record holds in place of what it should: a run that resumes says so in one line."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from headwise.errors import InputError
from headwise.training.evaluation import evaluate
from headwise.training.run import train
from tests.training.recipes import GUMBEL, tiny
from tests.training.test_resume import interrupted_run


def dropped(*way: Any) -> Callable[[dict[str, Any]], None]:
    return changed(*way, to=lambda parent, key: parent.pop(key))


def changed(*way: Any, to: Any) -> Callable[[dict[str, Any]], None]:
    def change(content: Any) -> None:
        for key in way[:-1]:
            content = content[key]
        if callable(to):
            to(content, way[-1])
        else:
            content[way[-1]] = to

    return change


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (dropped("optimizer"), "optimizer is missing"),
        (changed("update", to="five"), "update is a word, expected a whole number"),
        (changed("update", to=3), "update is 3, the position in the data 13"),
        (changed("batches", "position", to=None), "position is nothing, expected a whole number"),
        (changed("batches", to=[]), "not the state of this run"),
        (dropped("optimizer", "state", 0, "exp_avg_sq"), "parameter 0 has"),
        (
            changed("optimizer", "state", 0, "exp_avg", to=torch.zeros(2, 7)),
            "exp_avg of parameter 0 is torch.float32 of (2, 7)",
        ),
        (changed("optimizer", "state", 0, "step", to="x"), "step is a word, expected Tensor"),
        (changed("optimizer", "state", 999, to={}), "the state of parameter 999"),
        (changed("recorder", "examples", to="x"), "examples is a word, expected a whole number"),
        (changed("recorder", "noted", "loss", to=0.5), "loss is a number, expected Tensor"),
        (changed("recorder", "line_start", to=[1]), "not the state of this run"),
        (changed("validation", "best", to={}), "best is keys and values, expected a number"),
        (dropped("validation", "waited"), "waited is missing"),
        (changed("random", to=7), "not the state of this run"),
        (changed("random", 0, "numpy", to=["MT19937"]), "not the state of this run"),
        (changed("model", to=[]), "model is a list, expected keys and values"),
        (changed("model", "backbone.norm.weight", to=3), "not the weights of this model"),
        (changed("model", "backbone.norm.weight", to=torch.zeros(5)), "not the weights of this model"),
    ],
)
def test_a_checkpoint_of_other_content_is_one_line(
    change: Callable[[dict[str, Any]], None], said: str, stopped: Path, tmp_path: Path
) -> None:
    run = copied(stopped, tmp_path)
    file = run / "checkpoints" / "last.ckpt"
    content = torch.load(file, weights_only=True)
    change(content)
    torch.save(content, file)
    (run / "checkpoints" / "previous.ckpt").unlink()
    with pytest.raises(InputError) as error:
        train(resume=run, progress=False)
    assert said in str(error.value)
    assert "last.ckpt" in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{"update": 5', "line 2: damaged, not JSON"),
        ("[5]", "line 2: holds a list, expected keys and values"),
        ('{"update": "x"}', "update is a word"),
    ],
)
def test_a_damaged_line_in_the_middle_of_a_record_is_named(line: str, said: str, stopped: Path, tmp_path: Path) -> None:
    run = copied(stopped, tmp_path)
    first, *rest = (run / "metrics.jsonl").read_text().splitlines(keepends=True)
    (run / "metrics.jsonl").write_text("".join([first, f"{line}\n", *rest]))
    with pytest.raises(InputError, match=r"metrics\.jsonl") as error:
        train(resume=run, progress=False)
    assert said in str(error.value)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{}", "model.json: run is missing, expected keys and values"),
        ('{"run": 3, "facts": {}}', "model.json: run is a whole number"),
        ("[]", "model.json: holds a list"),
    ],
)
def test_a_model_file_of_other_content_is_one_line(content: str, said: str, finished: Path, tmp_path: Path) -> None:
    run = copied(finished, tmp_path)
    (run / "model.json").write_text(content)
    with pytest.raises(InputError) as error:
        evaluate(run)
    assert said in str(error.value)


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        return interrupted_run(tiny(tmp_path_factory.mktemp("stopped"), GUMBEL), patch)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(tiny(tmp_path_factory.mktemp("finished"), GUMBEL), progress=False)


def copied(run: Path, folder: Path) -> Path:
    return Path(shutil.copytree(run, folder / "run"))
