"""The drawing of a tree, read back from its XML."""

import itertools
import math
import random
import re
from xml.etree import ElementTree

import pytest
from matplotlib.colors import to_hex

from headwise.lab import plot_style
from headwise.tasks.parsing import trees
from headwise.tasks.parsing.trees import svg

SVG = "{http://www.w3.org/2000/svg}"
FORMS = ("The", "cat", "sat", "on", "it", ".")
GOLD = ((2, 3, 0, 5, 3, 3), ("det", "nsubj", "root", "case", "obl", "punct"))
Box = tuple[float, float, float, float]


def parsed(text: str) -> ElementTree.Element:
    return ElementTree.fromstring(text)


def texts(text: str) -> list[str]:
    return ["".join(node.itertext()) for node in parsed(text).iter(f"{SVG}text")]


def dashed(text: str) -> int:
    """Dashed arcs; one more is in the legend."""
    return text.count("stroke-dasharray") - 1


def underlined(text: str) -> list[str]:
    """Underlined relations; the legend's comes first."""
    return [node.text or "" for node in parsed(text).iter(f"{SVG}text") if node.get("text-decoration")][1:]


def random_tree(n: int, rng: random.Random) -> tuple[list[int], list[str]]:
    order = rng.sample(range(1, n + 1), n)
    heads = [0] * n
    for place in range(1, n):
        heads[order[place] - 1] = order[rng.randrange(place)]
    return heads, [rng.choice(["nsubj:pass", "obl", "compound:prt", "x"]) if head else "root" for head in heads]


def boxes_of_labels(text: str) -> list[Box]:
    """Left, top, right, bottom of the paper behind each label."""
    found = [rect for rect in parsed(text).iter(f"{SVG}rect") if rect.get("fill") == trees.PAPER and rect.get("x")]
    values = [[float(rect.get(key, "nan")) for key in ("x", "y", "width", "height")] for rect in found]
    return [(x, y, x + width, y + height) for x, y, width, height in values]


def overlap(a: Box, b: Box) -> bool:
    return min(a[2], b[2]) - max(a[0], b[0]) > 0.2 and min(a[3], b[3]) - max(a[1], b[1]) > 0.2


def test_a_right_tree_has_an_arc_above_and_one_below_each_word_and_nothing_marked_wrong() -> None:
    text = svg(FORMS, GOLD, GOLD)
    assert text.count("<polygon") == 2 * len(FORMS), "an arrow head for each arc"
    assert dashed(text) == 0
    assert underlined(text) == []
    for relation in GOLD[1]:
        assert texts(text).count(relation) == 2
    assert [form for form in texts(text) if form in FORMS] == list(FORMS)
    assert "heads right: 6 of 6, with relation: 6" in texts(text)


def test_wrong_heads_are_dashed_and_wrong_relations_underlined() -> None:
    predicted = ((2, 3, 0, 3, 3, 5), ("det", "obj", "root", "case", "obl:arg", "dep"))
    text = svg(FORMS, GOLD, predicted)
    assert dashed(text) == 2
    assert underlined(text) == ["obj", "dep"], "a subtype makes no difference"
    assert "heads right: 4 of 6, with relation: 3" in texts(text)


def test_gold_stands_above_and_predicted_below_the_words() -> None:
    predicted = (GOLD[0], tuple(f"p{i}" for i in range(6)))
    nodes = {node.text: float(node.get("y", "nan")) for node in parsed(svg(FORMS, GOLD, predicted)).iter(f"{SVG}text")}
    words = nodes["cat"]
    assert all(nodes[relation] < words for relation in GOLD[1])
    assert all(nodes[relation] > words for relation in predicted[1])


@pytest.mark.parametrize("n", [1, 2, 5, 12, 40])
def test_labels_do_not_collide_and_words_do_not_touch(n: int) -> None:
    rng = random.Random(n)
    for _ in range(10):
        gold, predicted = random_tree(n, rng), random_tree(n, rng)
        forms = [rng.choice([".", "a", "word", "internationalisation", "W" * 40]) for _ in range(n)]
        text = svg(forms, gold, predicted)
        labels = boxes_of_labels(text)
        assert len(labels) == 2 * n
        collisions = [(a, b) for a, b in itertools.combinations(labels, 2) if overlap(a, b)]
        assert not collisions
        words = [node for node in parsed(text).iter(f"{SVG}text") if node.get("font-size") == f"{trees.WORD:g}"]
        middles = [float(node.get("x", "nan")) for node in words]
        halves = [trees._width("".join(node.itertext())[-trees.LONGEST_FORM :], trees.WORD) / 2 for node in words]
        for (a, b), (x, y) in zip(itertools.pairwise(halves), itertools.pairwise(middles), strict=True):
            assert y - x > a + b
        width = float(parsed(text).get("width", "nan"))
        assert all(left >= 0 and right <= width for left, _, right, _ in labels)


def test_heads_that_are_no_tree_can_be_drawn() -> None:
    """Argmax decoding: several roots, a cycle."""
    text = svg(FORMS, GOLD, ((0, 0, 4, 3, 0, 0), ("compound:prt",) * 6))
    labels = boxes_of_labels(text)
    assert len(labels) == 12
    assert not any(overlap(a, b) for a, b in itertools.combinations(labels, 2))


def test_arcs_at_the_same_height_do_not_run_into_each_other() -> None:
    rng = random.Random(0)
    for _ in range(20):
        text = svg(["w"] * 15, random_tree(15, rng), random_tree(15, rng))
        found = re.findall(r"Q[\d.]+ ([\d.]+) ([\d.]+) [\d.]+H([\d.]+)", text)
        runs = [(y, *sorted((float(left), float(right)))) for y, left, right in found]
        assert len(runs) == 28
        for (y, left, right), (other, start, end) in itertools.combinations(runs, 2):
            assert y != other or min(right, end) <= max(left, start)


def test_nothing_is_loaded_run_or_named() -> None:
    text = svg(FORMS, GOLD, GOLD, [[[1.0, 0.0]] * 6])
    for forbidden in ("<script", "href", "url(", "@import", "<style", " id=", "onload"):
        assert forbidden not in text
    assert text == svg(FORMS, GOLD, GOLD, [[[1.0, 0.0]] * 6])


def test_words_that_look_like_markup_stay_words() -> None:
    forms = ("<script>", '"&amp;"', "\x00\ud800", "日本語", "https://example.org/" + "x" * 100)
    tree = ((0, 1, 1, 1, 1), ("root", "<b>", "a&b", "x", "x"))
    text = svg(forms, tree, tree)
    assert "<script" not in text
    found = texts(text)
    assert "<script>" in found
    assert '"&amp;"' in found
    assert "\ufffd\ufffd" in found, "what XML cannot hold is replaced"
    assert found.count("<b>") == 2
    shortened = next(word for word in found if word.startswith(forms[-1]))
    assert shortened.endswith("…"), "the whole address in its title, the beginning to be seen"
    text.encode("utf-8")


def test_gates_are_drawn_for_each_step_head_and_word() -> None:
    H, steps = 4, 3
    gates = [[[0.0, 1.0, 3.0, math.nan] for _ in FORMS] for _ in range(steps)]
    text = svg(FORMS, GOLD, GOLD, gates)
    assert [word for word in texts(text) if word.startswith("refinement")] == [
        f"refinement step {k}" for k in (1, 2, 3)
    ]
    maps = [
        node for node in parsed(text).iter(f"{SVG}path") if re.fullmatch(r"M[\d.]+ [\d.]+h[\d.]+", node.get("d", ""))
    ]
    strokes = [node.get("stroke") for node in maps][3:]  # after the legend's lines
    assert len(strokes) == len(FORMS) * H * steps
    assert strokes == (["#1f5f99"] * 6 + ["#f2f0ea"] * 6 + ["#b3500a"] * 6 + [trees.GRID] * 6) * steps
    assert {"0", "1", "3"} <= set(texts(text)), "the scale"


def test_gates_of_a_sequence_are_the_same_for_all_words() -> None:
    row = [0.2, 1.8]
    assert svg(FORMS, GOLD, GOLD, [[row]]) == svg(FORMS, GOLD, GOLD, [[row] * 6])


def test_colours_are_those_of_the_plots() -> None:
    for value, place in ((0.0, 0.0), (0.5, 0.25), (0.9, 0.45), (1.0, 0.5), (1.5, 0.625), (3.0, 1.0)):
        ours, theirs = trees._gate_colour(value, 3.0), to_hex(plot_style.GATE_COLOURS(place))
        for a, b in zip(bytes.fromhex(ours[1:]), bytes.fromhex(theirs[1:]), strict=True):
            assert abs(a - b) <= 2, "matplotlib rounds to 256 colours"
    assert (trees.INK, trees.MUTED, trees.GRID, trees.PAPER) == (
        plot_style.INK,
        plot_style.MUTED,
        plot_style.GRID,
        plot_style.PAPER,
    )
    assert plot_style.COLOURS[:3] == (trees.GOLD, trees.RIGHT, trees.WRONG)


def test_lengths_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="forms: no words"):
        svg((), ((), ()), ((), ()))
    with pytest.raises(ValueError, match="predicted: expected 6 heads from 0 to 6, and 6 relations"):
        svg(FORMS, GOLD, (GOLD[0], ("x",)))
    with pytest.raises(ValueError, match="gold: expected 1 heads from 0 to 1"):
        svg(("a",), ((2,), ("x",)), ((0,), ("x",)))
    with pytest.raises(ValueError, match="gates: expected 1 or 6 rows"):
        svg(FORMS, GOLD, GOLD, [[[1.0]] * 5])
