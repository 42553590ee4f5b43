"""The synthetic treebank: real trees, of the words and not of their order alone."""

from collections import defaultdict
from collections.abc import Callable

import pytest

from headwise.tasks.parsing.grammar import LONGEST, SHORTEST, generate
from headwise.tasks.parsing.lexicon import classes
from headwise.tasks.parsing.sentences import Sentence, find_cycle

SPLITS = ("train", "validation", "test")
LEFT_OUT = ("determiner", "adjective", "number", "degree", "frequency")
KINDS = ("bring", "mend", "watch", "place", "thing")  # not person, the kind of names
CLASS_OF = {word: name for name, words in classes().items() for word in words}


@pytest.fixture(scope="module")
def splits() -> dict[str, list[Sentence]]:
    return generate(seed=0)


@pytest.fixture(scope="module")
def many() -> list[Sentence]:
    """Enough that skeletons come again and again; those of long sentences do not."""
    return [s for s in generate(seed=7, sizes={"train": 25000})["train"] if len(s.forms) <= 16]


def arcs(sentences: list[Sentence]) -> list[tuple[int, int]]:
    return [(word, head) for sentence in sentences for word, head in enumerate(sentence.heads, start=1)]


def skeleton(sentence: Sentence, class_of: Callable[[str], str]) -> tuple[tuple[str, ...], tuple]:
    """Classes and tree without the words that stand right before their head and decide nothing.

    Kinds of nouns and of transitive verbs get letters in the order in which they occur, since the rules only ask which
    are the same: many more sentences have the same skeleton than the same classes.
    """
    kept = [n for n, form in enumerate(sentence.forms, start=1) if CLASS_OF[form].partition("/")[0] not in LEFT_OUT]
    place = {0: 0} | {old: new for new, old in enumerate(kept, start=1)}
    letters: dict[str, str] = {}
    names = []
    for old in kept:
        parts = class_of(sentence.forms[old - 1]).split("/")
        names.append(
            "/".join(letters.setdefault(part, f"kind {len(letters)}") if part in KINDS else part for part in parts)
        )
    return tuple(names), tuple((place[sentence.heads[old - 1]], sentence.relations[old - 1]) for old in kept)


def ambiguous(sentences: list[Sentence], class_of: Callable[[str], str] = CLASS_OF.__getitem__) -> tuple[int, int]:
    """How many skeletons come more than once, and how many of them with more than one tree."""
    trees: dict[tuple[str, ...], list[tuple]] = defaultdict(list)
    for sentence in sentences:
        names, tree = skeleton(sentence, class_of)
        trees[names].append(tree)
    again = [found for found in trees.values() if len(found) > 1]
    return len(again), sum(len(set(found)) > 1 for found in again)


def is_projective(sentence: Sentence) -> bool:
    """Whether every word between a word and its head comes from that head."""
    for word, head in enumerate(sentence.heads, start=1):
        for between in range(min(word, head) + 1, max(word, head)):
            above = between
            while above not in (0, head):
                above = sentence.heads[above - 1]
            if above != head:
                return False
    return True


def test_every_sentence_is_a_tree_of_the_promised_length(splits):
    for sentence in (sentence for split in splits.values() for sentence in split):
        assert SHORTEST <= len(sentence.forms) <= LONGEST
        assert len(sentence.forms) == len(sentence.heads) == len(sentence.relations)
        assert all(0 <= head <= len(sentence.forms) for head in sentence.heads)
        assert [r for head, r in zip(sentence.heads, sentence.relations, strict=True) if head == 0] == ["root"]
        assert sentence.relations.count("root") == 1
        assert not find_cycle(sentence.heads)


def test_the_splits_have_their_sizes_and_share_no_sentence(splits):
    assert [len(splits[name]) for name in SPLITS] == [2000, 300, 300]
    assert len({sentence.forms for split in splits.values() for sentence in split}) == 2600


def test_the_seed_determines_everything_and_the_size_of_train_only_train(splits):
    assert generate(seed=0) == splits
    assert generate(seed=1) != splits
    fewer = generate(seed=0, sizes={"train": 10, "validation": 300, "test": 300})
    assert (fewer["validation"], fewer["test"]) == (splits["validation"], splits["test"])
    assert fewer["train"] == splits["train"][:10]


def test_neighbours_are_poor_heads(splits):
    for split in splits.values():
        pairs = arcs(split)
        assert sum(head == word - 1 for word, head in pairs) < 0.4 * len(pairs)
        assert sum(head == word + 1 for word, head in pairs) < 0.4 * len(pairs)


def test_some_arcs_are_long_and_some_cross(splits):
    pairs = arcs(splits["train"])
    assert sum(head > 0 and abs(head - word) >= 5 for word, head in pairs) > 0.1 * len(pairs)
    crossing = sum(not is_projective(sentence) for sentence in splits["train"])
    assert 0.05 < crossing / len(splits["train"]) < 0.3


def test_every_word_has_one_class_and_is_seen_in_training(splits):
    assert len(CLASS_OF) == sum(len(words) for words in classes().values())
    assert {word for sentence in splits["train"] for word in sentence.forms} == set(CLASS_OF)
    assert {r for sentence in splits["train"] for r in sentence.relations} >= {"acl:relcl", "ccomp", "conj", "xcomp"}


def test_what_is_attached_by_rule_is_where_the_rule_says(splits):
    """The rules that need no notion of open verbs, applied from scratch."""
    counted = dict.fromkeys(("subject relative", "object relative", "nouns", "time", "because"), 0)
    for sentence in splits["train"]:
        names = [CLASS_OF[form].split("/") for form in sentence.forms]
        kinds = ["person" if name[0] == "name" else name[0] for name in names]
        nouns = [place for place, kind in enumerate(kinds) if kind in ("person", "place", "thing")]
        heads = [head - 1 for head in sentence.heads]
        for word, (head, relation) in enumerate(zip(heads, sentence.relations, strict=True)):
            if relation == "acl:relcl":
                (that,) = (n for n, h in enumerate(heads) if h == word and names[n] == ["that"] and n < word)
                if sentence.relations[that] == "obj":
                    counted["object relative"] += 1
                    assert head == that - 1
                    continue
                counted["subject relative"] += 1
                auxiliary = any(h == word and names[n] == ["will"] for n, h in enumerate(heads))
                assert not auxiliary
                number = "one" if names[word][1] == "s" else "more"
                assert head == max(n for n in nouns if n < that and names[n][1:] == [number])
            elif relation == "conj" and word in nouns:
                counted["nouns"] += 1
                assert head == max(n for n in nouns if n < word and kinds[n] == kinds[word])
            elif names[word] == ["time", "past"]:
                counted["time"] += 1
                assert names[head][1] == "past" or "did" in sentence.forms
            elif kinds[word] == "because":
                counted["because"] += 1
                assert heads[heads[head]] == -1
    assert min(counted.values()) > 50, counted


def test_the_classes_of_the_words_determine_the_tree(many):
    again, different = ambiguous(many)
    assert again > 1000
    assert different == 0


@pytest.mark.parametrize(
    ("what", "forget"),
    [
        ("the number of nouns", lambda name: name.replace("/more", "/one")),
        ("the form of verbs", lambda name: name.replace("/s", "/plain").replace("/past", "/plain")),
        ("which verbs take a preposition", lambda name: "preposition" if name.startswith("preposition") else name),
        ("the kind of nouns", lambda name: name.replace("place", "thing").replace("person", "thing")),
    ],
)
def test_a_reader_who_overlooks_something_meets_two_trees_for_the_same_words(many, what, forget):
    _, different = ambiguous(many, lambda word: forget(CLASS_OF[word]))
    assert different > 0, f"{what} never matters"
