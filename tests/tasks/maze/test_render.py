"""Pictures: what is in them, told by shapes and colours."""

from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib.image import imread

from headwise.errors import InputError, StorageError
from headwise.tasks.maze.generate import GeneratorConfig, generate
from headwise.tasks.maze.lattice import Mazes
from headwise.tasks.maze.render import BLOCKED, GOAL, INK, PATH, RIGHT, START, WRONG, WRONG_FILL, save, svg


def mazes():
    return generate(GeneratorConfig(size=6, min_path_length=10), 3, seed=0)


def count(picture, tag, colour):
    root = ElementTree.fromstring(picture)
    shapes = root.findall(f"{{http://www.w3.org/2000/svg}}{tag}")
    return sum(colour in (shape.get("fill"), shape.get("stroke")) for shape in shapes)


def test_a_picture_shows_walls_path_start_and_goal():
    picture = svg(mazes(), 1)
    # 2 * 6 * 7 sides of cells, less 35 passages; right and lower border are one line
    assert count(picture, "polyline", INK) == 84 - 35 - 12 + 1
    assert [count(picture, "polygon", colour) for colour in (START, GOAL, RIGHT, WRONG_FILL)] == [1, 1, 0, 0]
    assert count(picture, "polyline", PATH) == 1
    assert f"{(6 + 1) * 20}" in picture


def test_wrong_cells_of_a_prediction_are_marked():
    some = mazes()
    marked = some.on_path[1].copy()
    missing, extra = np.argwhere(marked)[2], np.argwhere(~marked)[4]
    marked[tuple(missing)], marked[tuple(extra)] = False, True
    picture = svg(some, 1, marked=marked)
    assert count(picture, "polygon", RIGHT) == some.length[1]
    assert count(picture, "polygon", WRONG_FILL) == 1
    assert count(picture, "polyline", WRONG) == 2 + 1  # a cross and a frame
    right = svg(some, 1, marked=some.on_path[1])
    assert count(right, "polygon", RIGHT) == some.length[1] + 1
    assert count(right, "polyline", WRONG) == 0


def test_another_shortest_path_is_not_wrong():
    passages = np.ones((1, 2, 2, 4), dtype=bool)
    passages[:, 0, :, 0] = passages[:, :, 1, 1] = passages[:, 1, :, 2] = passages[:, :, 0, 3] = False
    some = Mazes.solve(passages, np.array([0]), np.array([3]))
    other = some.on_path[0].T
    assert count(svg(some, marked=other), "polygon", RIGHT) == 3
    assert count(svg(some, marked=other), "polygon", WRONG_FILL) == 0


def test_a_walk_is_a_line_of_its_own():
    some = mazes()
    picture = svg(some, 2, walked=np.array([*some.path[2], -1, -1]))
    assert count(picture, "polyline", WRONG) == 1
    assert count(picture, "polygon", RIGHT) == some.length[2] + 1


def test_blocked_cells_are_filled():
    passages = np.zeros((1, 3, 3, 4), dtype=bool)
    passages[0, 0, :2, 1] = passages[0, 0, 1:, 3] = True
    assert count(svg(Mazes.solve(passages, np.array([0]), np.array([2]))), "polygon", BLOCKED) == 6


def test_png_and_svg_have_the_same_size(tmp_path):
    some = mazes()
    save(tmp_path / "one.png", some, 1, marked=some.on_path[0], cell=24)
    save(tmp_path / "one.svg", some, 1, marked=some.on_path[0], cell=24)
    pixels = imread(tmp_path / "one.png")
    assert pixels.shape[:2] == (7 * 24, 7 * 24)
    assert 'width="168" height="168"' in (tmp_path / "one.svg").read_text()
    row, column = divmod(int(some.start[1]), 6)
    start = pixels[24 * row + 24, 24 * column + 24, :3] * 255  # half a cell of margin, half a cell to the middle
    assert start == pytest.approx([int(START[i : i + 2], 16) for i in (1, 3, 5)], abs=2)


def test_a_picture_of_another_kind_or_place_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"some.gif: choose a name that ends in .svg or .png"):
        save(tmp_path / "some.gif", mazes())
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match=r"/file: cannot be written"):
        save(tmp_path / "file" / "some.svg", mazes())
    (tmp_path / "keep.svg").write_text("precious")
    with pytest.raises(InputError, match=r"keep.svg: exists; choose another name"):
        save(tmp_path / "keep.svg", mazes())
    assert (tmp_path / "keep.svg").read_text() == "precious"
    assert sorted(file.name for file in tmp_path.iterdir()) == ["file", "keep.svg"]


def test_what_is_wrong_otherwise_than_by_its_mark_has_a_cross_of_its_own():
    wrong = np.zeros((6, 6), dtype=bool)
    wrong[2, 3] = wrong[5, 5] = True
    assert count(svg(mazes(), 1, marked=mazes().on_path[1], wrong=wrong), "polyline", WRONG) == 2 * 2
