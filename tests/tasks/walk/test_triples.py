"""A user's own graph: what is read and refused, which queries are asked, and the public files of Kinships and UMLS."""

import importlib.util
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
import torch

from headwise.errors import InputError
from headwise.models.arm import Arm
from headwise.models.backbone import Backbone
from headwise.models.sizes import ModelConfig
from headwise.reasoning.refinement import RefinementConfig
from headwise.schema import build
from headwise.tasks.base import Batch, TaskModel
from headwise.tasks.walk import WalkConfig, WalkData, WalkTask, triples
from headwise.tasks.walk.triples import graph_of, read_triples

FAMILY = """\
ann\tparent\tbob
ann\tparent\tcat
bob\tparent\tdan

bob\tsibling\tcat
cat\tsibling\tbob
dan\tworks_at\tmill
cat\tworks_at\tmill
mill\temploys\tdan
"""
LATER = "cat\tparent\tdan\nmill\temploys\tcat\n"


def files(folder: Path, **more: Any) -> WalkConfig:
    (folder / "graph.tsv").write_text(FAMILY, encoding="utf-8")
    (folder / "later.tsv").write_text(LATER, encoding="utf-8")
    settings = {"graph": str(folder / "graph.tsv"), "relations": 4, "hops": 3}
    sizes = {"train_examples": 200, "validation_examples": 50, "test_examples": 100}
    return build(WalkConfig, settings | sizes | more, "task")


def every(data: WalkData, name: str) -> Batch:
    source = data.split(name)
    return source.batch(torch.arange(len(source)))


def compositions(batch: Batch) -> set[tuple[int, ...]]:
    """Instructions of two or more relations."""
    rows = zip(batch["instruction"].tolist(), batch["hops"].tolist(), strict=True)
    return {tuple(row[:hops]) for row, hops in rows if hops > 1}


def answers(lines: list[tuple[int, ...]], batch: Batch, row: int) -> set[int]:
    """By a search in plain Python."""
    leads = defaultdict(set)
    for head, relation, tail in lines:
        leads[head, relation].add(tail)
    here = {int(batch["start"][row])}
    for relation in batch["instruction"][row, : batch["hops"][row]].tolist():
        here = {tail for head in here for tail in leads[head, relation]}
    return here


def test_lines_are_read_by_their_names_in_order(tmp_path: Path) -> None:
    graph = graph_of(files(tmp_path))
    assert graph.entities == ("ann", "bob", "cat", "dan", "mill")
    assert graph.relations == ("employs", "parent", "sibling", "works_at")
    assert graph.triples.tolist()[:3] == [[0, 1, 1], [0, 1, 2], [1, 1, 3]]
    assert len(graph.triples) == 8
    assert not graph.new.any()


@pytest.mark.parametrize("inverses", [False, True])
def test_answers_are_all_entities_that_the_relations_lead_to(tmp_path: Path, inverses: bool) -> None:
    data = WalkData(files(tmp_path, inverses=inverses, held_out=0.3), 0)
    lines = list(map(tuple, data.graph.triples.tolist()))
    if inverses:
        assert (1, 1 + 4, 0) in lines  # bob's parent is ann
        assert data.graph.relations[5] == "parent backward"
        assert data.config.names[5] == "r2_backward"
    for name in ("train", "test"):
        batch, sets = every(data, name), 0
        for row in range(len(batch["start"])):
            found = set(batch["reached"][row, -1].nonzero()[:, 0].tolist())
            assert found == answers(lines, batch, row) != set()
            sets += len(found) > 1
        assert sets, "some answers are sets"


def test_no_composition_of_the_test_is_asked_in_training(tmp_path: Path) -> None:
    config = files(tmp_path, inverses=True, train_examples=3000, test_examples=500)
    data = WalkData(config, 0)
    train, test = (compositions(every(data, name)) for name in ("train", "test"))
    assert train
    assert test
    assert not train & test
    assert len(test) / len(train | test) == pytest.approx(0.2, abs=0.07)
    assert compositions(every(data, "validation")) <= train
    assert (every(data, "test")["hops"] == 1).sum() > 100, "each relation alone is asked, too"
    assert compositions(every(WalkData(config, 1), "test")) != test, "which ones follows from the seed"
    shared = WalkData(files(tmp_path, held_out=0.0, train_examples=3000), 0)
    assert compositions(every(shared, "test")) <= compositions(every(shared, "train"))


def test_triples_of_the_test_are_seen_and_walked_along_in_the_test_alone(tmp_path: Path) -> None:
    config = files(tmp_path, test_graph=str(tmp_path / "later.tsv"), held_out=0.0)
    data = WalkData(config, 0)
    new = {(2, 1, 3), (4, 0, 2)}  # cat parent dan, mill employs cat
    train, test = every(data, "train"), every(data, "test")
    assert not new & set(map(tuple, train["triples"][0].tolist()))
    assert new <= set(map(tuple, test["triples"][0].tolist()))
    known = [line for line in map(tuple, data.graph.triples.tolist()) if line not in new]
    for row in range(100):
        found = set(test["reached"][row, -1].nonzero()[:, 0].tolist())
        assert found == answers([*known, *new], test, row)
    ways = [answers(known, test, row) != answers([*known, *new], test, row) for row in range(100)]
    assert sum(ways) > 30, "without them most would have another answer"
    assert data.references(data.split("test"))["ceiling"].mean() == 1


def test_a_head_sees_along_the_edges_of_the_file_and_all_examples_share_one_mask(tmp_path: Path) -> None:
    data = WalkData(files(tmp_path), 0)
    shape = ModelConfig(width=20, heads=5, ffn=8, structural_heads=4)
    arm = Arm(refinement=RefinementConfig(3, injection="input"))
    model = TaskModel(WalkTask(data.config, data.facts, 20), Backbone(shape, arm))
    batch = data.split("train").batch(torch.arange(6))
    _, layout = model.embed(batch)
    for place, name in enumerate(("employs", "parent", "sibling", "works_at")):
        seen = layout.relations[f"r{place + 1}"]
        assert seen.shape == (1, 5, 5)
        expected = {(t, h) for h, r, t in data.graph.triples.tolist() if data.graph.relations[r] == name}
        assert set(map(tuple, seen[0].nonzero().tolist())) == expected
    loss = model.task.loss(model.task.read_out(model(batch).states[-1], batch), batch)
    assert loss.shape == (6,)
    assert model.task.terms(batch).tolist() == [5] * 6
    assert set(model.task.metrics(torch.randn(6, 5), batch)) >= {"accuracy", "jaccard"}


def test_the_same_file_and_seed_are_the_same_queries_and_other_triples_are_other_data(tmp_path: Path) -> None:
    prints = [WalkData(files(tmp_path, held_out=0.0), seed).split("test").fingerprint() for seed in (0, 0, 1)]
    assert prints[0] == prints[1] != prints[2]
    config = files(tmp_path, held_out=0.0)
    with (tmp_path / "graph.tsv").open("a", encoding="utf-8") as file:
        file.write("dan\tsibling\tdan\n")
    assert WalkData(config, 0).split("test").fingerprint() != prints[0]
    with pytest.raises(InputError, match="trained on data with relations="):
        WalkData(config, 0).adopt({"relations": ["a", "b", "c", "d"], "hops": 3})


@pytest.mark.parametrize(
    ("text", "later", "settings", "message"),
    [
        ("a\tb\n", "", {}, "graph.tsv:1: 'a b' has 2 columns; expected head, relation and tail, separated by tabs"),
        ("a\tr\tb\n\na\tr\tb\tc\n", "", {}, "graph.tsv:3: 'a r b c' has 4 columns"),
        ("a r b\n", "", {}, "graph.tsv:1: 'a r b' has 1 column;"),
        ("a\t\tb\n", "", {}, "graph.tsv:1: 'a b' has 2 columns"),
        ("\n", "", {}, "graph.tsv: holds no triples"),
        ("a\tr\tb\n", "\na\tr\tc\n", {}, "later.tsv:2: entity 'c', which task.graph="),
        ("a\tr\tb\n", "a\ts\tb\n", {}, "later.tsv:1: relation 's', which task.graph="),
        ("a\tr\tb\n", "", {"relations": 2}, "has 1; choose task.relations=1"),
        ("a\tr\tb\n", "", {"hops": 2}, "random walks found none of 2 hops that can be asked for"),
    ],
)
def test_a_graph_that_cannot_be_used_is_refused_in_one_line(
    tmp_path: Path, text: str, later: str, settings: dict[str, Any], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(triples, "PATIENCE", 20)
    (tmp_path / "graph.tsv").write_text(text, encoding="utf-8")
    (tmp_path / "later.tsv").write_text(later, encoding="utf-8")
    more = {"test_graph": str(tmp_path / "later.tsv")} if later else {}
    values = {"graph": str(tmp_path / "graph.tsv"), "relations": 1, "hops": 1, "train_examples": 9}
    config = build(WalkConfig, values | more | settings, "task")
    with pytest.raises(InputError) as error:
        WalkData(config, 0).split("train")
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_a_graph_too_large_for_masks_says_how_many_entities_fit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(triples, "MOST_EDGES", 99)
    with pytest.raises(InputError, match="5 entities are too many for dense masks; with 4 relations 4 fit"):
        WalkData(files(tmp_path), 0)
    monkeypatch.setattr(triples, "MOST_EDGES", 100)
    WalkData(files(tmp_path), 0)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"test_graph": "x.tsv"}, "task.test_graph=x.tsv: is about task.graph, and there is none"),
        ({"inverses": True}, "task.inverses=true: is about task.graph, and there is none"),
        ({"held_out": 0.1}, "task.held_out=0.1: is about task.graph, and there is none"),
        ({"graph": "x.tsv", "nodes": 9}, "task.nodes=9: is about random graphs, this one comes from task.graph"),
        ({"graph": "x.tsv", "successors": 2.0}, "task.successors=2.0: is about random graphs"),
        ({"graph": "x.tsv", "held_out": 1.0}, "task.held_out=1.0: choose 0 <= held_out < 1, or null"),
    ],
)
def test_settings_that_are_not_about_the_graph_at_hand_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as error:
        build(WalkConfig, settings, "task")
    assert message in str(error.value)


def test_a_missing_file_is_named() -> None:
    with pytest.raises(InputError, match=r"nowhere.tsv: not found"):
        WalkData(WalkConfig(graph="nowhere.tsv"), 0)


# What is known of two public graphs: entities, relations and triples, and that few questions have a single answer.
PUBLIC = {"kinships": (104, 25, 10_686), "umls": (135, 46, 6_529)}


@pytest.mark.parametrize("name", PUBLIC)
def test_public_graphs_have_the_published_sizes_and_queries_of_several_hops(name: str, tmp_path: Path) -> None:
    found = importlib.util.find_spec("pykeen")
    if found is None:
        pytest.skip("needs the text files of pykeen, of the extra headwise[graphs]")
    folder = Path(next(iter(found.submodule_search_locations))) / "datasets" / name
    entities, relations, count = PUBLIC[name]
    parts = [read_triples(folder / f"{part}.txt") for part in ("train", "valid", "test")]
    lines = {line for part in parts for line in part.values()}
    assert len(lines) == count
    pairs = defaultdict(set)
    for head, relation, tail in lines:
        pairs[head, relation].add(tail)
    assert 0.14 <= sum(len(tails) == 1 for tails in pairs.values()) / len(pairs) <= 0.305
    values = {"graph": str(folder / "train.txt"), "test_graph": str(folder / "test.txt"), "relations": relations}
    sizes = {"hops": 2, "train_examples": 300, "validation_examples": 50, "test_examples": 300}
    data = WalkData(build(WalkConfig, values | sizes, "task"), 0)
    assert len(data.graph.entities) == entities
    train, test = every(data, "train"), every(data, "test")
    assert not compositions(train) & compositions(test)
    references = data.references(data.split("test"))
    assert references["ceiling"].mean() == 1
    assert references["floor"].mean() < 0.35  # of UMLS one set of entities is the answer to a quarter of the queries
