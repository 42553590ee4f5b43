"""Examples: what is input and what is target, what an epoch is, and phases that follow each other."""

import json
from pathlib import Path

import pytest
import torch

from headwise.tasks.language import LanguageConfig, LanguageData
from headwise.tasks.language.sources import Curriculum, RandomWindows, Records, Windows
from headwise.tasks.language.tokens import Encoded

END = 99


def spelled(*ids: int) -> Encoded:
    """Tokens that stand for as many characters as their number says."""
    return Encoded(list(ids), list(ids))


def records() -> Records:
    return Records([spelled(1, 2), spelled()], [spelled(3), spelled(4, 5, 6, 7)], END)


def test_records_are_shifted_padded_and_ended():
    batch = records().batch(torch.tensor([0, 1]))
    assert batch["tokens"].tolist() == [[1, 2, 3, END], [4, 5, 6, 7]]
    assert batch["targets"].tolist() == [[2, 3, END, END], [5, 6, 7, END]]
    assert batch["mask"].tolist() == [[True, True, True, False], [True] * 4]
    # the response 3 and its end; nothing where there is no prompt
    assert batch["answer"].tolist() == [[False, True, True, False], [False] * 4]
    assert batch["characters"].tolist() == [2 + 3, 5 + 6 + 7]  # neither the first token nor the end
    assert batch["mean_characters"].tolist() == [11.5, 11.5]


def test_an_example_is_the_same_in_whatever_batch():
    source = records()
    alone = source.batch(torch.tensor([0]))
    together = source.batch(torch.tensor([1, 0]))
    for name, value in alone.items():
        assert torch.equal(value[0], together[name][1, :3] if value.dim() > 1 else together[name][1])


def test_windows_follow_each_other_and_cover_every_target_once():
    source = Windows(spelled(*range(1, 12)), length=3)  # 11 tokens: 3 windows, one token left over
    batch = source.batch(torch.arange(len(source)))
    assert batch["tokens"].tolist() == [[1, 2, 3], [4, 5, 6], [7, 8, 9]]
    assert batch["targets"].tolist() == [[2, 3, 4], [5, 6, 7], [8, 9, 10]]
    assert batch["characters"].tolist() == [9, 18, 27]
    assert batch["mean_characters"].tolist() == [18, 18, 18]
    assert "mask" not in batch


def test_a_random_epoch_has_as_many_windows_as_fill_the_text_and_is_reproducible():
    source = RandomWindows(spelled(*range(100)), length=9)
    plan = source.plan(4, seed=1, epoch=2, shuffle=True)
    starts = torch.cat(plan)
    assert len(starts) == len(source) == 11
    assert torch.equal(starts, torch.cat(source.plan(3, seed=1, epoch=2, shuffle=True)))
    assert not torch.equal(starts, torch.cat(source.plan(4, seed=1, epoch=3, shuffle=True)))


def test_a_random_window_may_begin_anywhere_up_to_the_last_that_fits():
    source = RandomWindows(spelled(*range(20)), length=9)
    assert source.indices == 11
    assert source.batch(torch.tensor([0, 10]))["targets"].tolist() == [list(range(1, 10)), list(range(11, 20))]
    drawn = torch.cat([torch.cat(source.plan(8, 0, epoch, shuffle=True)) for epoch in range(200)])
    assert set(drawn.tolist()) == set(range(11))


def test_a_curriculum_reads_one_source_and_then_the_other():
    first, second = Records([spelled()] * 5, [spelled(1)] * 5, END), Records([spelled()] * 3, [spelled(2)] * 3, END)
    source = Curriculum(first, second, epochs=2, batch_size=4)
    assert [len(index) for index in source.plan(2, 0, 0, shuffle=True)] == [4, 1]
    assert [len(index) for index in source.plan(2, 0, 2, shuffle=True)] == [2, 1]
    for epoch, token in enumerate([1, 1, 2, 2]):
        for index in source.plan(2, seed=0, epoch=epoch, shuffle=True):
            assert (source.batch(index)["tokens"] == token).all()
    everything = source.plan(2, 0, 0, shuffle=False)
    assert torch.cat(everything).tolist() == list(range(8)) == list(range(len(source)))
    assert [source.batch(index)["tokens"].unique().numel() for index in everything] == [1, 1, 1, 1]
    with pytest.raises(ValueError, match="one phase"):
        source.batch(torch.tensor([4, 5]))


def test_each_phase_is_shuffled_anew_every_epoch():
    first, second = Records([spelled()] * 50, [spelled(1)] * 50, END), Records([spelled()] * 50, [spelled(2)] * 50, END)
    source = Curriculum(first, second, epochs=2)
    orders = [torch.cat(source.plan(8, 3, epoch, shuffle=True)).tolist() for epoch in range(4)]
    assert all(a != b for i, a in enumerate(orders) for b in orders[:i])
    assert sorted(orders[0]) == list(range(50))
    assert sorted(orders[3]) == list(range(50, 100))


# From files


def files(tmp_path: Path) -> Path:
    chats = [f"User: say {word} Assistant: {word} {word}" for word in ["one", "two", "three", "four", "five", "six"]]
    (tmp_path / "chats.json").write_text(json.dumps(chats))
    (tmp_path / "facts.txt").write_text("one two three four five six " * 9)
    return tmp_path / "chats.json"


def test_running_text_may_come_before_records(tmp_path):
    config = LanguageConfig(
        corpus=str(files(tmp_path)),
        held_out=0.0,
        pretraining=str(tmp_path / "facts.txt"),
        pretraining_epochs=1,
        context=16,
    )
    data = LanguageData(config, seed=0)
    assert data.facts["context"] == 16, "that of the windows, which are longer than the records"
    train = data.split("train")
    first, second = (train.batch(train.plan(4, 0, epoch, shuffle=True)[0]) for epoch in (0, 1))
    assert "mask" not in first
    assert second["mask"].any()


def test_the_same_configuration_and_seed_give_the_same_data(tmp_path):
    config = LanguageConfig(corpus=str(files(tmp_path)), held_out=0.4)
    one, two, other = (LanguageData(config, seed) for seed in (0, 0, 1))
    assert one.facts == two.facts
    assert json.loads(json.dumps(one.facts)) == one.facts
    for name in ("train", "validation", "test"):
        a, b = (data.split(name) for data in (one, two))
        assert len(a) == len(b)
        everything = torch.arange(len(a))
        assert all(torch.equal(value, b.batch(everything)[key]) for key, value in a.batch(everything).items())
    first = torch.tensor([0])
    held_out = [
        data.split(name).batch(first)["tokens"].tolist() for name in ("validation", "test") for data in (one, other)
    ]
    assert held_out[0] != held_out[1] or held_out[2] != held_out[3], "another seed holds out other records"


def test_a_model_gets_no_more_positions_than_its_longest_record(tmp_path):
    data = LanguageData(LanguageConfig(corpus=str(files(tmp_path)), held_out=0.0, context=80), seed=0)
    assert data.facts["context"] == 8  # User : say one Assistant : one one; its end is never read
