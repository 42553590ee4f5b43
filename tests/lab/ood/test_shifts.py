"""The axes that each registered task declares, and those of a task of the user's own."""

from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch

from headwise.errors import InputError
from headwise.lab.ood.axes import choose
from headwise.models.arm import Arm
from headwise.tasks import TASKS
from headwise.tasks.base import Shift, Task
from headwise.tasks.parsing import ParsingConfig, ParsingData
from headwise.tasks.walk import WalkTask
from headwise.tasks.walk.config import WalkConfig
from headwise.tasks.walk.data import WalkData
from headwise.training.config import RunConfig, task_from_plain


def test_at_the_values_of_training_nothing_changes() -> None:
    """Of axes that are one key: what stands in the configuration is the neutral value."""
    for name in TASKS:
        config = task_from_plain({"name": name})
        for axis, shift in TASKS[name].task.shifts(config).items():
            assert shift.about, axis
            if shift.trained in (None, "all") or (isinstance(shift.trained, str) and " to " in shift.trained):
                continue
            kept = shift.settings(shift.trained)
            own = set(kept) & {axis, f"min_{axis}", f"min_path_{axis}"}
            assert [getattr(config, key) for key in own] == [kept[key] for key in own] == [shift.trained], axis


def test_the_sentences_of_a_length_are_those_of_the_test_set() -> None:
    whole = ParsingData(ParsingConfig(), 0).split("test")
    some = ParsingData(ParsingConfig(test_words=(6, 9)), 0).split("test")
    assert [one.forms for one in some.sentences] == [one.forms for one in whole.sentences if 6 <= len(one.forms) <= 9]
    assert 0 < len(some) < len(whole)
    with pytest.raises(InputError, match=r"test_words=\[500,600\]: no test sentence of synthetic has so many words"):
        ParsingData(ParsingConfig(test_words=(500, 600)), 0)
    with pytest.raises(ValueError, match=r"task.test_words=\[9, 6\]: choose the fewest and the most"):
        ParsingConfig(test_words=(9, 6))


def test_a_step_for_each_hop_stays_one() -> None:
    """Steps grow from those of the longest instruction that a run tells, which may be more than it trains."""
    for trained in (None, 3):
        steps = WalkTask.shifts(WalkConfig(hops=5, train_hops=trained, instruction="steps"))["hops"].steps
        assert [5 * steps(hops) for hops in (3, 5, 10, 40)] == [5, 5, 10, 40]
    assert WalkTask.shifts(WalkConfig(hops=5))["hops"].steps(40) == 1


def test_walks_of_so_many_hops_are_of_no_other() -> None:
    config = WalkConfig(hops=4, train_hops=2, test_hops=3, nodes=5, test_examples=30)
    data = WalkData(config, 0)
    assert data.split("test").batch(torch.arange(30))["hops"].unique().tolist() == [3]
    assert data.split("validation").batch(torch.arange(30))["hops"].unique().tolist() == [1, 2]
    with pytest.raises(ValueError, match=r"task.test_hops=5: choose 1..4"):
        WalkConfig(hops=4, test_hops=5)


class Bare(Task):
    """A task that declares nothing."""

    name: ClassVar[str] = "bare"


def test_a_task_declares_none_by_default() -> None:
    assert Bare.shifts(None) == {}


def sorting(heads: int = 4) -> tuple[RunConfig, int]:
    return RunConfig(task_from_plain({"name": "sorting", "length": 12}), Arm()), heads


def test_sorting_goes_a_third_two_thirds_and_once_beyond() -> None:
    length = choose(*sorting(), ["length"])[0]
    assert length.points == [12, 16, 20, 24]
    assert [axis.name for axis in choose(*sorting(), None)][:2] == ["length", "mask_rate"]
    assert choose(*sorting(16), ["heads"])[0].points == [1, 2, 4, 8, 16]
    assert choose(*sorting(6), {"heads": [6, 2, 2]})[0].points == [2, 6]


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        (["lenght"], r"^axes: lenght: unknown; there are: length, mask_rate, steps, heads, .*; did you mean length\?$"),
        ([], r"^axes=\[\]: name at least one of length"),
        ({"steps": []}, r"^axes.steps=\[\]: name at least one value$"),
        ({"steps": [0]}, r"^axes.steps=0: choose a number above 0$"),
        ({"heads": [1.5]}, r"^axes.heads=1.5: choose 1 or more heads$"),
        ({"noise": [-1]}, r"^axes.noise=-1: choose a standard deviation of 0 or more$"),
        ({"noise": True}, r"^axes.noise=True: choose a standard deviation"),
    ],
)
def test_what_is_no_axis_or_no_value_is_refused(choice: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        choose(*sorting(), choice)


def test_axes_of_files_are_named_with_their_values() -> None:
    config = RunConfig(task_from_plain("language"), Arm())
    assert "corpus" not in [axis.name for axis in choose(config, 4, None)]
    with pytest.raises(InputError, match=r"axes: corpus \(where the text is from\): name its values"):
        choose(config, 4, ["corpus"])


def test_a_value_that_the_task_cannot_read_is_refused() -> None:
    config = RunConfig(task_from_plain("maze"), Arm())
    with pytest.raises(InputError, match=r"^axes.size=big: expected a number, as 11$"):
        choose(config, 4, {"size": ["big"]})
    with pytest.raises(InputError, match=r"^axes.family=3: expected no number, as depth_first$"):
        choose(config, 4, {"family": [3]})
    with pytest.raises(InputError, match=r"^axes.treebank=\[1\]: .*has no attribute"):
        choose(RunConfig(task_from_plain("parsing"), Arm()), 4, {"treebank": [[1]]})


def test_an_axis_may_ask_for_more_steps() -> None:
    shift = Shift("hops", 2, lambda hops: {"hops": hops}, (4,), steps=lambda hops: hops / 2)
    assert shift.steps(4) == 2
    assert Shift.of("length", WalkConfig(hops=3), "hops", (4,)).trained == 3


def test_a_running_text_is_read_in_windows_and_records_are_not(tmp_path: Path) -> None:
    text = tmp_path / "corpus.txt"
    text.write_text("a rose is a rose is a rose; so is a nose\n" * 30)
    config = RunConfig(task_from_plain({"name": "language", "corpus": str(text), "context": 8}), Arm())
    assert choose(config, 4, ["context"])[0].points == [4, 8, 16]
    shorter = TASKS["language"].data(task_from_plain({"name": "language", "corpus": str(text), "context": 4}), 0)
    assert shorter.split("test").batch(torch.arange(1))["tokens"].shape == (1, 4)
