"""Few and many training examples, with made-up runs: `FakeTrain` gives each arm its values, whatever it trains on."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from headwise import cli
from headwise.errors import InputError
from headwise.lab.ood import low_data as module
from headwise.lab.ood.low_data import NOT_TRAINED, dry_run, low_data, prepare
from headwise.lab.report.ood_tables import low_data_plan_text
from headwise.lab.report.write import write_report
from headwise.lab.scaling.budget import Seconds
from headwise.models.arm import Arm
from headwise.tasks import TASKS
from headwise.training.config import RunConfig, task_from_plain
from tests.lab.conftest import CEILING, FLOOR, SCORES, FakeTrain, run_config

ARMS = [(name, run_config(name)) for name in ("baseline", "looped")]
FEW = 0.25


class LessWithLess(FakeTrain):
    """As `FakeTrain`, but on fewer than 100 examples every arm reaches 0.25."""

    def __call__(self, config: RunConfig, *args: Any, **how: Any) -> Path:
        few = config.task.train_examples < 100
        self.scores = {name: [FEW + 0.001 * seed for seed in range(5)] if few else SCORES[name] for name in SCORES}
        return super().__call__(config, *args, **how)


@pytest.fixture
def timed(monkeypatch: pytest.MonkeyPatch) -> None:
    """An estimate of 3 seconds a run, without the passes that it takes."""
    monkeypatch.setattr(module, "seconds", lambda config, data, threads: Seconds(0.1, 2.0, 1.0))


def found(output: Path, train: FakeTrain, examples: tuple[int, ...] = (50, 200), **how: Any) -> dict[str, Any]:
    return low_data(ARMS, examples, 3, output=output, jobs=1, train=train, **how)


def test_what_is_kept_with_few_examples_is_told_against_the_most(tmp_path: Path) -> None:
    result = found(tmp_path, LessWithLess(SCORES))
    axis = result["axes"]["train_examples"]
    assert [(one["label"], one["is_neutral"]) for one in axis["points"]] == [("50", False), ("200", True)]
    for arm in ("baseline", "looped"):
        low = (FEW + 0.001 - FLOOR - 1e-4) / (CEILING - FLOOR - 1e-4)  # means over three seeds, whose floors differ
        high = (sum(SCORES[arm][:3]) / 3 - FLOOR - 1e-4) / (CEILING - FLOOR - 1e-4)
        assert axis["points"][0]["arms"][arm]["kept"] == pytest.approx(low / high)
    assert result["headline"].startswith("Of the gain over the floor with most examples, baseline keeps least at train")
    write_report(tmp_path)
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "with few training examples" in page
    assert (tmp_path / "train50" / "report.html").is_file()
    comparison = json.loads((tmp_path / "train50" / "comparison.json").read_text())
    assert comparison["task_config"]["train_examples"] == 50


def test_numbers_are_added_and_nothing_is_trained_twice(tmp_path: Path) -> None:
    train = FakeTrain(SCORES)
    found(tmp_path, train)
    assert len(train.calls) == 12
    result = found(tmp_path, train, (50, 100))
    assert len(train.calls) == 18
    assert [one["label"] for one in result["axes"]["train_examples"]["points"]] == ["50", "100", "200"]


def test_an_arm_that_is_added_lacks_the_numbers_that_are_not_asked_for(tmp_path: Path) -> None:
    low_data(ARMS[:1], (50, 200), 3, output=tmp_path, jobs=1, train=FakeTrain(SCORES))
    result = found(tmp_path, FakeTrain(SCORES), (100, 200))
    few = result["axes"]["train_examples"]["points"][0]
    assert few["arms"]["looped"]["mean"] is None
    assert few["left_out"] == {f"looped, seed {seed}": NOT_TRAINED for seed in (0, 1, 2)}


def test_a_run_that_fails_is_named_and_the_others_count(tmp_path: Path) -> None:
    result = found(tmp_path, FakeTrain(SCORES, failing=frozenset({("looped", 1)})))
    few = result["axes"]["train_examples"]["points"][0]
    assert few["arms"]["looped"]["values"][1] is None
    assert "gradients blew up" in few["left_out"]["looped, seed 1"]


@pytest.mark.usefixtures("timed")
def test_a_dry_run_counts_what_is_missing_and_writes_nothing(tmp_path: Path) -> None:
    found(tmp_path, FakeTrain(SCORES), (50, 60))
    before = sorted(tmp_path.rglob("*"))
    plan = dry_run(prepare(ARMS, (50, 100), 3, output=tmp_path), jobs=2)
    done = {"50": 3, "100": 0}
    assert plan["examples"] == {
        count: {name: {"runs": 3, "finished": finished} for name in ("baseline", "looped")}
        for count, finished in done.items()
    }
    assert plan["seconds"] == pytest.approx(6 * 3.0 / 2)
    assert "6 runs to train: about 9.00 s, 2 runs at a time" in str(low_data_plan_text(plan)[-1])
    assert sorted(tmp_path.rglob("*")) == before


def holds_ood(output: Path) -> None:
    (output / "ood.json").write_text("{}")


def holds_a_comparison(output: Path) -> None:
    (output / "comparison.json").write_text("{}")


def nothing(output: Path) -> None:
    pass


MISTAKES: list[tuple[tuple[int, ...], Callable[[Path], None], str]] = [
    ((50,), nothing, "examples=[50]: choose two different numbers or more"),
    ((50, 50, 60), nothing, "examples=[50,50,60]: choose two different numbers or more"),
    ((0, 50), nothing, "examples: 0: choose 1 or more"),
    ((50, 100), holds_ood, "holds an out-of-distribution test (ood.json); choose another output"),
    ((50, 100), holds_a_comparison, "holds a comparison (comparison.json); choose another output"),
]


@pytest.mark.parametrize(("examples", "prepared", "message"), MISTAKES)
def test_a_mistake_is_refused_before_anything_is_trained(
    examples: tuple[int, ...], prepared: Callable[[Path], None], message: str, tmp_path: Path
) -> None:
    prepared(tmp_path)
    train = FakeTrain(SCORES)
    with pytest.raises(InputError, match=re.escape(message)):
        found(tmp_path, train, examples)
    assert train.calls == []


def test_a_task_that_does_not_count_its_examples_is_refused() -> None:
    config = RunConfig(task_from_plain("language"), Arm())
    with pytest.raises(InputError, match="task=language: has no setting that says how many examples are trained on"):
        prepare([("baseline", config)], (50, 100))


def test_the_key_that_a_task_names_is_one_of_its_own() -> None:
    for name in TASKS:
        key = TASKS[name].task.training_size
        assert key is None or hasattr(task_from_plain(name), key)


def test_from_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["low-data", "examples=[8,16]", "arms=[baseline]", "seeds=1", "task=sorting", "task.length=5", "jobs=1"]
    words += ["task.test_examples=8", "task.validation_examples=4", "model.width=16", "model.heads=2", "model.ffn=16"]
    words += ["training.updates=2", "training.validate_every=2", "training.loggers=[]", "device=cpu", "output=here"]
    assert cli.main([*words, "dry_run=true"]) == 0
    assert "2 runs to train" in capsys.readouterr().out
    assert cli.main([*words, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["axes"]["train_examples"]["neutral"] == 16
    assert cli.main(["ood", "here/train8", "output=here"]) == 2
    assert "here: holds results of `headwise low-data` (ood.json)" in capsys.readouterr().err
