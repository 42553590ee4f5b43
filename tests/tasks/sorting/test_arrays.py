"""The arrays: what they hold, and that chance comes from the seed alone."""

import pytest
import torch

from headwise.errors import InputError
from headwise.schema import build
from headwise.tasks.sorting import SortingConfig, SortingData
from headwise.tasks.sorting.arrays import EPOCH, HIGHEST, LOWEST, generate


def identical(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize(("length", "mask_rate"), [(2, 0.0), (12, 0.5), (13, 0.5), (20, 0.8), (200, 0.1)])
def test_an_array_holds_distinct_integers_of_which_the_stated_number_is_visible(length, mask_rate):
    batch = generate(SortingConfig(length=length, mask_rate=mask_rate), 50, [0])
    values, visible, ranks = batch["values"], batch["visible"], batch["ranks"]
    ascending = values.sort(dim=1).values
    assert (ascending.diff(dim=1) > 0).all()
    assert values.min() >= LOWEST
    assert values.max() <= HIGHEST
    assert (visible.sum(1) == length - round(length * mask_rate)).all()
    assert torch.equal(ascending.gather(1, ranks), values)


def test_position_says_nothing_about_value_or_visibility():
    batch = generate(SortingConfig(length=12), 40_000, [1])
    assert batch["values"].double().mean(0) == pytest.approx([-0.5] * 12, abs=1.2)  # 4 standard errors of 0.29
    assert batch["visible"].double().mean(0) == pytest.approx([0.5] * 12, abs=0.01)
    neighbours = torch.corrcoef(batch["values"].T.double()) + torch.eye(12) / 199  # -1/199: without replacement
    assert (neighbours - torch.eye(12)).abs().max() < 0.025


def test_every_integer_is_equally_likely():
    values = generate(SortingConfig(length=20), 20_000, [2])["values"] - LOWEST
    counts = values.flatten().bincount(minlength=200).double()
    assert counts.min() > 2000 * 0.9
    assert counts.max() < 2000 * 1.1


def test_the_same_seed_gives_the_same_arrays_whatever_the_global_state():
    config = SortingConfig(length=8, hints=5)
    torch.manual_seed(0)
    first = SortingData(config, seed=7).split("test").batch(torch.arange(100))
    torch.manual_seed(1)
    assert identical(first, SortingData(config, seed=7).split("test").batch(torch.arange(100)))
    assert not identical(first, SortingData(config, seed=8).split("test").batch(torch.arange(100)))


def test_no_test_array_was_trained_on():
    data = SortingData(SortingConfig(length=12), seed=0)
    rows = []
    for name in ("train", "validation", "test"):
        source = data.split(name)
        rows += [tuple(row) for row in source.batch(torch.arange(len(source)))["values"].tolist()]
    assert len(rows) == 1000 + 300 + 5000
    assert len(set(rows)) == len(rows)


def test_a_fixed_set_is_generated_once():
    data = SortingData(SortingConfig(), seed=0)
    assert data.split("train") is data.split("train")
    index = torch.tensor([5, 3, 999])
    assert torch.equal(data.split("train").batch(index)["values"], data.split("train").examples["values"][index])


def test_training_without_end_never_repeats_an_array():
    source = SortingData(SortingConfig(train_examples=0), seed=0).split("train")
    plans = [source.plan(64, seed=0, epoch=epoch, shuffle=True) for epoch in range(3)]
    assert [sum(map(len, plan)) for plan in plans] == [EPOCH] * 3
    rows = [tuple(row) for plan in plans for index in plan for row in source.batch(index)["values"].tolist()]
    assert len(set(rows)) == 3 * EPOCH


def test_a_fresh_array_depends_on_its_index_and_not_on_the_batch_around_it():
    source = SortingData(SortingConfig(train_examples=0, hints=3), seed=0).split("train")
    mixed = torch.tensor([EPOCH + 4, 17, 5 * EPOCH, 17, EPOCH - 1])
    together = source.batch(mixed)
    for i, index in enumerate(mixed):
        alone = source.batch(index[None])
        assert identical(alone, {name: array[i : i + 1] for name, array in together.items()})


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"length": 12, "mask_rate": 0.9}, "task.mask_rate=0.9 leaves 1 of task.length=12 .* mask_rate <= 0.833"),
        ({"length": 2}, "task.mask_rate=0.5 leaves 1 of task.length=2 .* mask_rate <= 0.0"),
        ({"mask_rate": 1.5}, "task.mask_rate=1.5: choose 0..1"),
        ({"length": 201}, "task.length=201: choose 2..200"),
        ({"length": 0}, "task.length=0: choose 2..200"),
        ({"train_examples": -1}, "task.train_examples=-1: choose 1 or more, or 0 for fresh"),
        ({"test_examples": 0}, "task.test_examples=0: choose 1 or more"),
        ({"length": 12, "hints": 52}, "task.hints=52: choose 0..51"),
        ({"mask_rate": 0.0, "hints": 1}, "task.hints=1: choose 0..0"),
        ({"hint_span": 0}, "task.hint_span=0: choose 1..19"),
        ({"hint_span": 1, "hints": 5}, "choose hints=0 to reveal all of them, or hint_span=null"),
        ({"length": 65, "hints": 1}, "task.length=65 with hints: choose at most 64"),
        ({"length": 12, "hints": 1, "hint_codes": 11}, "task.hint_codes=11: choose 12..64, or null"),
        ({"read_out": "greedy"}, "task.read_out=greedy: choose one of expected_rank, pointer"),
        ({"mask": 0.5}, "task.mask=0.5: unknown key; allowed in task: length, mask_rate"),
    ],
)
def test_impossible_values_are_refused_in_one_line_that_says_what_is_allowed(values, message):
    with pytest.raises(InputError, match=message) as error:
        build(SortingConfig, values, "task")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("length", range(3, 40))
def test_the_mask_rate_that_a_refusal_names_is_accepted(length):
    with pytest.raises(ValueError, match="choose mask_rate <=") as error:
        SortingConfig(length=length, mask_rate=1.0)
    allowed = float(str(error.value).rsplit(" ", 1)[1])
    assert SortingConfig(length=length, mask_rate=allowed).visible >= 2
