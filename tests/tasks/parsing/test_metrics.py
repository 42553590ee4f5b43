"""Attachment scores against the official scorer, run as a command, and against sums written out."""

import random
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from headwise.tasks.parsing.metrics import (
    BINS,
    CONTENT,
    by_length,
    by_relation,
    content_ids,
    corpus_scores,
    counts,
    is_content,
    measure,
    universal_ids,
    weights,
    words,
)
from headwise.tasks.parsing.sentences import Sentence

RELATIONS = ["acl:relcl", "acl", "aux:pass", "aux", "case", "nmod:poss", "nmod", "nsubj:pass", "nsubj", "punct", "root"]


def sentence(heads: list[int], relations: list[str]) -> Sentence:
    return Sentence(tuple(f"w{i}" for i in range(len(heads))), tuple(heads), tuple(relations), "test:1")


def random_tree(n: int, rng: random.Random) -> list[int]:
    """Heads: in a random order of the words, each hangs from an earlier one."""
    order = rng.sample(range(1, n + 1), n)
    heads = [0] * n
    for place in range(1, n):
        heads[order[place] - 1] = order[rng.randrange(place)]
    return heads


def random_sentence(n: int, rng: random.Random) -> Sentence:
    heads = random_tree(n, rng)
    return sentence(heads, [rng.choice(RELATIONS[:-1]) if head else "root" for head in heads])


def corrupted(right: Sentence, rate: float, rng: random.Random, names: list[str]) -> Sentence:
    """Words hung elsewhere, never below themselves, so that it stays a tree; and relations drawn anew."""
    heads, relations = list(right.heads), list(right.relations)
    for word in range(1, len(heads) + 1):
        if heads[word - 1] and rng.random() < rate:
            new = rng.randint(1, len(heads))
            above = new
            while above and above != word:
                above = heads[above - 1]
            if above != word:
                heads[word - 1] = new
        if rng.random() < rate:
            relations[word - 1] = rng.choice(names)
    return Sentence(right.forms, tuple(heads), tuple(relations), right.where)


def write(sentences: list[Sentence], path: Path) -> Path:
    lines = []
    for tree in sentences:
        rows = zip(tree.forms, tree.heads, tree.relations, strict=True)
        lines += [f"{i}\t{f}\t_\t_\t_\t_\t{h}\t{r}\t_\t_" for i, (f, h, r) in enumerate(rows, start=1)] + [""]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def official(gold: list[Sentence], predicted: list[Sentence], folder: Path) -> dict[str, float]:
    """UAS, LAS and CLAS in percent, to two decimals, from the table that `udeval` prints."""
    pytest.importorskip("udtools")
    paths = [str(write(gold, folder / "gold.conllu")), str(write(predicted, folder / "predicted.conllu"))]
    command = "import sys; from udtools.cli import main_eval; sys.exit(main_eval())"
    run = subprocess.run([sys.executable, "-c", command, *paths, "-v"], capture_output=True, text=True, check=True)
    table = re.findall(r"^(UAS|LAS|CLAS) *\|[^|]*\|[^|]*\| *([\d.]+)", run.stdout, flags=re.MULTILINE)
    assert len(table) == 3, run.stdout
    return {name: float(value) for name, value in table}


def two_decimals(scores: dict[str, float]) -> dict[str, float]:
    return {name: float(f"{100 * scores[name]:.2f}") for name in ("UAS", "LAS", "CLAS")}


def as_batch(
    gold: list[Sentence], predicted: list[Sentence], names: list[str]
) -> tuple[torch.Tensor, torch.Tensor, dict]:
    """Predicted heads and relations, and the gold batch; a relation that `names` lacks is -1."""
    L = max(len(tree.heads) for tree in gold)

    def padded(rows: list[list[int]]) -> torch.Tensor:
        return torch.tensor([[*row, *[0] * (L - len(row))] for row in rows])

    place = {name: number for number, name in enumerate(names)}
    heads = [padded([list(tree.heads) for tree in trees]) for trees in (gold, predicted)]
    relations = [padded([[place.get(r, -1) for r in tree.relations] for tree in trees]) for trees in (gold, predicted)]
    mask = padded([[1] * len(tree.heads) for tree in gold]).bool()
    content = padded([[int(is_content(r)) for r in tree.relations] for tree in gold]).bool()
    return heads[1], relations[1], {"heads": heads[0], "relations": relations[0], "mask": mask, "content": content}


def read(path: Path) -> list[Sentence]:
    """Words of a CoNLL-U file, in lines of its own: what is checked here is not the project's reader."""
    found = []
    for block in path.read_text(encoding="utf-8").strip().split("\n\n"):
        rows = [line.split("\t") for line in block.split("\n") if re.match(r"\d+\t", line)]
        found.append(Sentence(tuple(r[1] for r in rows), tuple(int(r[6]) for r in rows), tuple(r[7] for r in rows), ""))
    return found


def test_content_words_are_the_official_scorers() -> None:
    pytest.importorskip("udtools")
    command = "from udtools.udeval import CONTENT_DEPRELS; print(*CONTENT_DEPRELS)"
    run = subprocess.run([sys.executable, "-c", command], capture_output=True, text=True, check=True)
    assert set(run.stdout.split()) == CONTENT


@pytest.mark.parametrize("rate", [0.0, 0.1, 0.5, 1.0])
def test_scores_of_random_trees_are_the_official_scorers(tmp_path: Path, rate: float) -> None:
    rng = random.Random(rate)
    gold = [random_sentence(rng.choice([1, 2, 5, 9, 33]), rng) for _ in range(60)]
    predicted = [corrupted(tree, rate, rng, RELATIONS) for tree in gold]
    assert two_decimals(corpus_scores(gold, predicted)) == official(gold, predicted, tmp_path)


def test_more_content_words_predicted_than_there_are(tmp_path: Path) -> None:
    """CLAS is an F1: the official scorer divides by both totals, and a system that calls all words nouns pays."""
    rng = random.Random(0)
    gold = [random_sentence(8, rng) for _ in range(40)]
    predicted = [Sentence(tree.forms, tree.heads, ("nmod",) * 8, tree.where) for tree in gold]
    scores = corpus_scores(gold, predicted)
    assert two_decimals(scores) == official(gold, predicted, tmp_path)
    right = sum(relation.startswith("nmod") for tree in gold for relation in tree.relations)
    content = sum(is_content(relation) for tree in gold for relation in tree.relations)
    assert scores["CLAS"] == pytest.approx(2 * right / (content + 320))
    assert scores["CLAS"] < right / content


@pytest.mark.data
def test_scores_on_ewt_are_the_official_scorers(tmp_path: Path, data_folder: Path) -> None:
    gold = read(data_folder / "ud_en_ewt" / "en_ewt-ud-test.conllu")
    rng = random.Random(0)
    names = sorted({relation for tree in gold for relation in tree.relations})
    predicted = [corrupted(tree, 0.12, rng, names) for tree in gold]
    scores = corpus_scores(gold, predicted)
    assert (scores["words"], scores["sentences"]) == (25094, 2077)
    assert two_decimals(scores) == official(gold, predicted, tmp_path)


def test_subtypes_do_not_count() -> None:
    gold = [sentence([2, 0, 2], ["nsubj:pass", "root", "aux"])]
    assert corpus_scores(gold, [sentence([2, 0, 2], ["nsubj", "root", "aux:pass"])])["LAS"] == 1
    assert corpus_scores(gold, [sentence([2, 0, 2], ["obj", "root", "aux"])])["LAS"] == pytest.approx(2 / 3)
    assert universal_ids(RELATIONS).tolist() == [0, 0, 2, 2, 4, 5, 5, 7, 7, 9, 10, -1]
    content = [True, True, False, False, False, True, True, True, True, False, True, False]
    assert content_ids(RELATIONS).tolist() == content


def test_one_sentence_counted_by_hand() -> None:
    """Six words; right heads: all but the 4th; right labels: all but the 1st, 4th and 6th."""
    gold = [sentence([2, 3, 0, 5, 3, 3], ["det", "nsubj", "root", "case", "obl", "punct"])]
    predicted = [sentence([2, 3, 0, 3, 3, 3], ["nmod", "nsubj", "root", "obl", "obl", "obj"])]
    scores = corpus_scores(gold, predicted)
    assert scores["UAS"] == pytest.approx(5 / 6)
    assert scores["LAS"] == pytest.approx(3 / 6)
    # Content by gold: nsubj, root, obl, all right; predicted: all six.
    assert scores["CLAS"] == pytest.approx(2 * 3 / (3 + 6))
    assert (scores["UCM"], scores["LCM"]) == (0, 0)


def test_weighted_means_over_sentences_are_the_corpus_scores() -> None:
    rng = random.Random(0)
    gold = [random_sentence(rng.randint(1, 20), rng) for _ in range(50)]
    predicted = [corrupted(tree, 0.2 if i % 5 else 0.0, rng, RELATIONS) for i, tree in enumerate(gold)]
    scores = corpus_scores(gold, predicted)
    heads, relations, batch = as_batch(gold, predicted, RELATIONS)
    plain = measure(heads, relations, batch, RELATIONS)
    sums = counts(words(heads, relations, batch, RELATIONS))
    for name, weight in weights(batch, sums.predicted_content).items():
        assert (plain[name] * weight / weight.mean()).mean().item() == pytest.approx(scores[name.upper()], abs=1e-6)
    by_gold = weights(batch)
    batch["share"] = by_gold["uas"] / by_gold["uas"].mean()
    batch["content_share"] = by_gold["clas"] / by_gold["clas"].mean()
    for name, value in measure(heads, relations, batch, RELATIONS).items():
        allowed = 0.02 if name == "clas" else 1e-6
        assert value.mean().item() == pytest.approx(scores[name.upper()], abs=allowed)
    assert 0 < scores["UCM"] < 1, "or the complete matches were not put to a test"
    assert sums.attached.sum() / sums.words.sum() == pytest.approx(scores["UAS"])


def test_padding_counts_for_nothing() -> None:
    rng = random.Random(0)
    gold = [random_sentence(n, rng) for n in (2, 7)]
    heads, relations, batch = as_batch(gold, gold, RELATIONS)
    heads[0, 2:], relations[0, 2:] = 5, 6
    batch["heads"][0, 2:] = 5
    batch["content"][0, 2:] = True
    for values in measure(heads, relations, batch, RELATIONS).values():
        assert values.tolist() == [1, 1]
    found = counts(words(heads, relations, batch, RELATIONS))
    assert found.words.tolist() == [2, 7]
    assert torch.equal(found.content, found.predicted_content)


def test_a_relation_that_the_list_lacks_is_never_right_and_may_be_a_content_word() -> None:
    gold = [sentence([0, 1], ["root", "vocative"])]
    heads, relations, batch = as_batch(gold, gold, RELATIONS)
    assert batch["relations"].tolist() == [[10, -1]]
    found = counts(words(heads, relations, batch, RELATIONS))  # the prediction is -1 as well
    assert (found.attached.item(), found.labelled.item(), found.content.item()) == (2, 1, 2)


def test_lengths_are_reported_apart_and_add_up() -> None:
    rng = random.Random(0)
    gold = [random_sentence(n, rng) for n in (1, 5, 6, 10, 11, 20, 31, 50, 51, 90)]
    predicted = [corrupted(tree, 0.3, rng, RELATIONS) for tree in gold]
    rows = by_length(gold, predicted)
    assert [row["length"] for row in rows] == ["1-5", "6-10", "11-20", "31-50", ">50"], "21-30 has no sentence"
    assert [row["sentences"] for row in rows] == [2] * 5
    whole = corpus_scores(gold, predicted)
    assert sum(row["words"] for row in rows) == whole["words"]
    assert sum(row["words"] * row["LAS"] for row in rows) == pytest.approx(whole["words"] * whole["LAS"])
    short = corpus_scores(gold[:2], predicted[:2])
    assert {name: rows[0][name] for name in short} == short
    assert [last for _, last in BINS][:-1] == [first - 1 for first, _ in BINS][1:], "no length falls between two bins"


def test_relations_are_reported_by_gold_label_and_add_up() -> None:
    gold = [sentence([2, 0, 2, 2], ["nsubj:pass", "root", "nsubj", "punct"])]
    predicted = [sentence([2, 0, 1, 2], ["nsubj", "root", "nsubj", "root"])]
    assert by_relation(gold, predicted) == [
        {"relation": "nsubj", "words": 2, "UAS": 0.5, "LAS": 0.5},
        {"relation": "punct", "words": 1, "UAS": 1.0, "LAS": 0.0},
        {"relation": "root", "words": 1, "UAS": 1.0, "LAS": 1.0},
    ]


def test_sentences_that_do_not_match_are_refused() -> None:
    gold = [sentence([0], ["root"])]
    with pytest.raises(ValueError, match="0 predicted sentences for 1 gold"):
        corpus_scores(gold, [])
    with pytest.raises(ValueError, match=r"other\.conllu:7: not the words of the gold sentence at test:1"):
        corpus_scores(gold, [Sentence(("x",), (0,), ("root",), "other.conllu:7")])
    with pytest.raises(ValueError, match="test:1: not one head and one relation per word"):
        corpus_scores(gold, [Sentence(("w0",), (), (), "test:1")])
