"""Walks: the relations that are drawn, the instructions, where they lead, and what can be reached without training."""

from collections import Counter
from math import comb

import pytest
import torch

from headwise.errors import InputError
from headwise.schema import build
from headwise.tasks.base import Batch
from headwise.tasks.walk import WalkConfig, WalkData, WalkTask
from headwise.tasks.walk.config import EPOCH
from headwise.tasks.walk.graphs import generate

KINDS = {"permutation": 1.0, "partial": 0.4, "many": 1.8}


def walks(count: int = 200, seed: int = 0, most: int = 4, **settings: object) -> Batch:
    return generate(WalkConfig(**settings), count, [seed], most)


def ends(batch: Batch, row: int) -> set[int]:
    """Where a walk may end, by a search in plain Python."""
    here = {int(batch["start"][row])}
    edges = batch["edges"][row].tolist()
    for relation in batch["instruction"][row].tolist():
        if relation < len(edges):
            here = {there for node in here for there, on in enumerate(edges[relation][node]) if on}
    return here


@pytest.mark.parametrize("kind", KINDS)
def test_the_answer_is_where_a_walk_along_the_edges_ends(kind: str) -> None:
    batch = walks(successors=KINDS[kind], nodes=7, relations=3)
    for row in range(200):
        found = set(batch["reached"][row, -1].nonzero()[:, 0].tolist())
        assert found == ends(batch, row)
        assert found, "every walk that is asked for can be walked"
        assert len(found) == 1 or kind == "many"


def test_nodes_have_the_successors_that_were_asked_for() -> None:
    edges = walks(nodes=10)["edges"].double()
    assert (edges.sum(2) == 1).all()
    assert (edges.sum(3) == 1).all()
    for kind in ("partial", "many"):
        drawn = walks(2000, nodes=10, successors=KINDS[kind], hops=1, most=1)["edges"].double()
        # A walk of one hop keeps one of the 60 nodes' edges that a partial relation might have lost.
        kept = (1 - KINDS[kind]) / 60 if kind == "partial" else 0.0
        assert drawn.sum(3).mean().item() == pytest.approx(KINDS[kind] + kept, abs=0.01)
    assert (walks(successors=0.4)["edges"].sum(3) <= 1).all()
    assert (walks(successors=1.8)["edges"].sum(3) >= 1).all()


def test_after_each_hop_stands_how_far_the_walk_has_come() -> None:
    batch = walks(nodes=6, relations=2)
    for row, hops in enumerate(batch["hops"].tolist()):
        for t in range(5):
            short = batch | {"instruction": batch["instruction"].clone()}
            short["instruction"][row, t:] = 2
            assert set(batch["reached"][row, t].nonzero()[:, 0].tolist()) == ends(short, row)
        assert (batch["reached"][row, hops:] == batch["reached"][row, hops]).all()


def test_instructions_name_every_relation_and_every_number_of_hops_as_often() -> None:
    batch = walks(12_000, nodes=3, hops=4, most=3)
    counts = Counter(batch["hops"].tolist())
    assert [counts[n] for n in range(1, 5)] == pytest.approx([4000, 4000, 4000, 0], abs=250)
    first = batch["instruction"][:, 0].bincount(minlength=7)
    assert first.tolist() == pytest.approx([2000] * 6 + [0], abs=200)
    asked = batch["instruction"] < 6
    assert torch.equal(asked.sum(1), batch["hops"])
    assert torch.equal(asked, torch.arange(4) < batch["hops"][:, None])


def test_training_stops_at_its_own_number_of_hops_and_the_test_goes_on() -> None:
    data = WalkData(WalkConfig(hops=5, train_hops=2, nodes=4, test_examples=400, validation_examples=100), 0)
    longest = {name: int(data.split(name).batch(torch.arange(100))["hops"].max()) for name in ("train", "validation")}
    assert longest == {"train": 2, "validation": 2}
    assert int(data.split("test").batch(torch.arange(400))["hops"].max()) == 5


def test_under_a_curriculum_the_longest_instruction_grows_with_the_number_of_the_example() -> None:
    source = WalkData(WalkConfig(nodes=3, curriculum=2 * EPOCH), 0).split("train")
    # Of four hops the longest is 1 in the first third of the curriculum, 2 in the second, 3 in the last, then 4.
    for first, last, longest in ((0, 1365, 1), (1366, 2730, 2), (2731, 4095, 3), (4096, 6143, 4)):
        assert int(source.batch(torch.arange(first, last + 1))["hops"].max()) == longest
    plain = WalkData(WalkConfig(nodes=3), 0).split("train")
    assert int(plain.batch(torch.arange(100))["hops"].max()) == 4
    again = WalkData(WalkConfig(nodes=3, curriculum=2 * EPOCH), 0).split("train")
    assert torch.equal(source.batch(torch.tensor([5000]))["edges"], again.batch(torch.tensor([5000]))["edges"])


def test_splits_and_epochs_are_different_walks() -> None:
    data = WalkData(WalkConfig(train_examples=50, validation_examples=50, test_examples=50), 0)
    prints = {data.split(name).fingerprint() for name in ("train", "validation", "test")}
    assert len(prints) == 3
    fresh = WalkData(WalkConfig(), 0).split("train")
    (first, *_), (second, *_) = fresh.plan(64, 0, 0, shuffle=True), fresh.plan(64, 0, 1, shuffle=True)
    assert not torch.equal(fresh.batch(first)["edges"], fresh.batch(second)["edges"])


@pytest.mark.parametrize("kind", KINDS)
def test_the_floor_is_chance_and_the_ceiling_is_found_by_following_edges(kind: str) -> None:
    data = WalkData(WalkConfig(nodes=8, relations=3, successors=KINDS[kind], test_examples=300), 0)
    source = data.split("test")
    found = data.references_by_metric(source)
    assert (found["accuracy"]["ceiling"] == 1).all()
    sizes = source.batch(torch.arange(300))["reached"][:, -1].sum(1)
    guesses = [(sizes == m).double() / comb(8, m) for m in range(1, 9)]
    best = max(guess.mean().item() for guess in guesses)
    assert found["accuracy"]["floor"].mean().item() == pytest.approx(best)
    if kind != "many":
        assert best == 1 / 8
    by_hops = [found[name]["ceiling"] for name in ("accuracy_1_hop", "accuracy_2_hops", "accuracy_3_hops")]
    assert [int(part.isfinite().sum()) for part in by_hops] == [
        int((source.batch(torch.arange(300))["hops"] == n).sum()) for n in (1, 2, 3)
    ]


def test_planted_wrong_answers_are_seen_by_the_ceiling() -> None:
    data = WalkData(WalkConfig(nodes=8, test_examples=50), 0)
    source = data.split("test")
    source.examples["reached"][7, -1] = source.examples["reached"][7, -1].roll(1)
    ceiling = data.references(source)["ceiling"]
    assert ceiling.tolist() == [float(row != 7) for row in range(50)]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"nodes": 1}, "task.nodes=1: choose 2 or more"),
        ({"relations": 0}, "task.relations=0: choose 1 or more"),
        ({"hops": 0}, "task.hops=0: choose 1 or more"),
        ({"train_hops": 5}, "task.train_hops=5: choose 1..4 (task.hops), or null"),
        ({"successors": 0.0}, "task.successors=0.0: choose above 0, up to 16 (task.nodes)"),
        ({"successors": 17.0}, "task.successors=17.0: choose above 0, up to 16 (task.nodes)"),
        ({"pauses": True, "hops": 1}, "task.pauses=true: with task.hops=1 there is no place to pause at"),
        ({"curriculum": -1}, "task.curriculum=-1: choose 0 or more"),
        ({"curriculum": 100, "train_examples": 10}, "choose train_examples=0, or curriculum=0"),
        ({"curriculum": 100, "train_hops": 1}, "with 1 hop nothing can grow"),
        ({"hops": 101}, "task.hops=101: choose 1..100"),
        ({"nodes": 400}, "task.nodes=400 with task.relations=6: an epoch of 2048 examples takes more than 1 GiB"),
        ({"nodes": 250, "train_examples": 10}, "task.test_examples=5000: of task.nodes=250 and task.relations=6 2"),
        ({"test_examples": 10**9}, "task.test_examples=1000000000: of task.nodes=16 and"),
        ({"targets": "hop"}, "task.targets=hop: choose one of answer, hops"),
    ],
)
def test_settings_that_make_no_walk_are_refused(settings: dict, message: str) -> None:
    with pytest.raises(InputError) as error:
        build(WalkConfig, settings, "task")
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_pauses_move_an_instruction_and_leave_the_walk_as_it_is() -> None:
    settings: dict[str, object] = {"nodes": 7, "relations": 3, "hops": 5, "train_hops": 3, "instruction": "steps"}
    plain, paused = (WalkData(WalkConfig(**settings, pauses=on), seed=0) for on in (False, True))  # type: ignore[arg-type]
    for name in ("train", "validation"):
        index = torch.arange(500)
        before, after = plain.split(name).batch(index), paused.split(name).batch(index)
        for key in ("edges", "start", "hops"):
            assert torch.equal(before[key], after[key])
        assert torch.equal(before["reached"][:, -1], after["reached"][:, -1])
        places = Counter[int]()
        for row in range(500):
            told = after["instruction"][row]
            places.update((told < 3).nonzero()[:, 0].tolist())
            assert told[told < 3].tolist() == before["instruction"][row][: before["hops"][row]].tolist()
            for t in range(6):  # how far it has come after each place
                short = after | {"instruction": torch.where(torch.arange(5) < t, after["instruction"], 3)}
                assert set(after["reached"][row, t].nonzero()[:, 0].tolist()) == ends(short, row)
        assert min(places[t] for t in range(5)) > 150, "moves stand at every place alike"
    index = torch.arange(300)
    assert torch.equal(
        plain.split("test").batch(index)["instruction"], paused.split("test").batch(index)["instruction"]
    )


def test_pauses_of_one_example_do_not_depend_on_how_many_are_asked_for() -> None:
    source = WalkData(WalkConfig(pauses=True, instruction="steps"), seed=0).split("train")
    whole = source.batch(torch.arange(64))
    assert torch.equal(source.batch(torch.tensor([7, 40]))["instruction"], whole["instruction"][[7, 40]])


def test_with_pauses_each_step_has_a_target() -> None:
    given = {"hops": 5, "train_hops": 3, "targets": "hops", "instruction": "steps"}
    for on, targets in ((False, 3), (True, 5)):
        assert WalkTask.declared(WalkConfig(**given, pauses=on)).targets == targets  # type: ignore[arg-type]
