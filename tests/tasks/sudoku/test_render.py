"""Pictures show clues bold, boxes ruled, and mistakes."""

import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest

from headwise.errors import InputError
from headwise.tasks.sudoku.generate import GeneratorConfig, generate
from headwise.tasks.sudoku.render import WRONG, WRONG_FILL, save, svg

ONE = generate(GeneratorConfig(size=6), 1, seed=0)


def test_clues_alone_are_drawn_bold_and_boxes_ruled() -> None:
    text = svg(ONE)
    ElementTree.fromstring(text)
    assert text.count('font-weight="bold"') == text.count("<text") == int(ONE.n_clues[0])
    thick = re.findall(r'd="(\S+ \S+)" stroke="\S+" stroke-width="0.08"', text)
    assert sorted(thick) == ["M0 0H6", "M0 0V6", "M0 2H6", "M0 4H6", "M0 6H6", "M3 0V6", "M6 0V6"]


def test_a_right_answer_has_no_mark_and_each_wrong_cell_has_one() -> None:
    answer = ONE.solution[0].copy()
    assert WRONG not in svg(ONE, 0, answer)
    blank = np.flatnonzero(ONE.clues[0] == 0)[:2]
    answer[blank] = answer[blank] % 6 + 1
    text = svg(ONE, 0, answer)
    assert text.count(WRONG_FILL) == text.count(WRONG) == 2
    assert text.count("<text") == 36 + 2  # the right digits beside the wrong ones


def test_a_picture_goes_into_a_new_file_of_its_ending(tmp_path: Path) -> None:
    save(tmp_path / "new" / "one.svg", ONE)
    assert (tmp_path / "new" / "one.svg").read_text() == svg(ONE)
    with pytest.raises(InputError, match=r"ends in \.svg"):
        save(tmp_path / "one.png", ONE)
