"""Rules without a model: by hand, and the figures on EWT."""

import re
from pathlib import Path

import pytest
import torch

from headwise.tasks.parsing.metrics import corpus_scores
from headwise.tasks.parsing.references import Rules
from headwise.tasks.parsing.sentences import Sentence


def sentence(text: str) -> Sentence:
    """From "form/head/relation form/head/relation"."""
    rows = [word.split("/") for word in text.split()]
    return Sentence(tuple(r[0] for r in rows), tuple(int(r[1]) for r in rows), tuple(r[2] for r in rows), "test:1")


def read(path: Path) -> list[Sentence]:
    found = []
    for block in path.read_text(encoding="utf-8").strip().split("\n\n"):
        rows = [line.split("\t") for line in block.split("\n") if re.match(r"\d+\t", line)]
        found.append(Sentence(tuple(r[1] for r in rows), tuple(int(r[6]) for r in rows), tuple(r[7] for r in rows), ""))
    return found


TRAIN = [
    sentence("the/2/det cat/3/nsubj sleeps/0/root"),
    sentence("the/3/det old/3/amod cat/4/nsubj sleeps/0/root"),
    sentence("the/2/det end/0/root"),
]


def test_neighbours_and_the_root_at_the_end_of_the_sentence() -> None:
    heads = Rules(TRAIN).heads(sentence("a/0/root b/1/x c/2/x"))
    assert heads["previous_word"] == [0, 1, 2]
    assert heads["next_word"] == [2, 3, 0]


def test_a_chain_is_all_previous_words_and_no_next_word() -> None:
    """The treebank on which the original parser was trained."""
    found = Rules(TRAIN)([sentence("a/0/root b/1/x c/2/x d/3/x"), sentence("a/0/root")])
    assert found["previous_word"].tolist() == [1, 1]
    assert found["next_word"].tolist() == [0, 1], "a word alone is the root by every rule"


def test_the_most_frequent_distance_is_counted_in_training() -> None:
    rules = Rules(TRAIN)  # +1 five times, the root three times, +2 once
    assert rules.heads(sentence("a/0/root b/1/x c/1/x"))["majority_offset"] == [2, 3, 0]
    backwards = Rules([sentence("a/0/root b/1/x c/1/x d/2/x")])  # -2 twice, the root and -1 once
    assert backwards.heads(sentence("a/0/root b/1/x c/1/x"))["majority_offset"] == [0, 0, 1], "-2 where it stays inside"


def test_each_form_has_its_own_distance_and_an_unseen_one_the_overall() -> None:
    rules = Rules(TRAIN)
    heads = rules.heads(sentence("The/2/det cat/3/nsubj sleeps/0/root soundly/3/advmod now/3/advmod"))
    assert heads["majority_by_form"] == [2, 3, 0, 5, 0]
    assert rules.heads(sentence("Sleeps/0/root now/1/advmod"))["majority_by_form"] == [0, 0], "in lower case"


def test_labels_are_the_most_frequent_that_fit() -> None:
    rules = Rules(TRAIN)
    right = sentence("the/2/det:x cat/3/nsubj:pass sleeps/0/root")
    assert rules.labelled([right])["majority_by_form"].tolist() == [1], "subtypes do not count"
    assert rules.relations(right, [2, 0, 2]) == ["det", "root", "det"], (
        "`sleeps` was only ever a root: the overall label"
    )
    assert rules([sentence("the/2/x cat/3/x sleeps/0/x")])["majority_by_form"].tolist() == [1]
    assert rules.labelled([sentence("the/2/x cat/3/x sleeps/0/root")])["majority_by_form"].tolist() == [
        pytest.approx(1 / 3)
    ]


def test_shares_are_those_of_the_metrics() -> None:
    rules = Rules(TRAIN)
    gold = [*TRAIN, sentence("a/2/det b/0/root c/2/obj d/2/punct")]
    lengths = torch.tensor([len(tree.forms) for tree in gold]).float()
    for rule in rules.heads(gold[0]):
        trees = []
        for tree in gold:
            heads = rules.heads(tree)[rule]
            trees.append(Sentence(tree.forms, tuple(heads), tuple(rules.relations(tree, heads)), tree.where))
        scores = corpus_scores(gold, trees)
        for name, values in (("UAS", rules(gold)[rule]), ("LAS", rules.labelled(gold)[rule])):
            assert ((values * lengths).sum() / lengths.sum()).item() == pytest.approx(scores[name])


def test_a_rule_that_saw_nothing_says_root() -> None:
    rules = Rules([])
    assert rules.heads(TRAIN[0])["majority_offset"] == rules.heads(TRAIN[0])["majority_by_form"] == [0, 0, 0]
    assert rules.relations(TRAIN[0], [2, 3, 0]) == ["dep", "dep", "root"]


@pytest.mark.data
def test_the_floors_on_ewt(data_folder: Path) -> None:
    """Counted without the project: 2,647 and 7,246 of 25,094 words, and 222 last words of sentences that are roots."""
    folder = data_folder / "ud_en_ewt"
    test = read(folder / "en_ewt-ud-test.conllu")
    rules = Rules(read(folder / "en_ewt-ud-dev.conllu"))
    words = torch.tensor([len(tree.forms) for tree in test]).double()
    micro = {name: ((values * words).sum() / words.sum()).item() for name, values in rules(test).items()}
    assert micro["previous_word"] == pytest.approx(2647 / 25094)
    assert micro["next_word"] == pytest.approx((7246 + 222) / 25094)
    assert micro["next_word"] <= micro["majority_offset"] < micro["majority_by_form"] < 0.5
