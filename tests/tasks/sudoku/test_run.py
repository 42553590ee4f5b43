"""Runs of the task from the words of a command line to tables and pictures, and to solutions of a user's puzzles."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from headwise import cli
from headwise.reasoning.draws import keys_of
from headwise.reasoning.refiner import Refiner
from headwise.tasks.sudoku import gates, solve
from headwise.training import evaluation
from headwise.training.configuration import load
from headwise.training.run import train
from tests.tasks.sudoku import plain

Captured = pytest.CaptureFixture[str]
TINY = [
    "task=sudoku_4",
    "task.train_puzzles=16",
    "task.validation_puzzles=8",
    "task.test_puzzles=16",
    "model.width=16",
    "model.heads=4",
    "model.structural_heads=3",
    "model.ffn=16",
    "training.updates=4",
    "training.batch_size=8",
    "training.validate_every=2",
    "training.loggers=[]",
    "device=cpu",
]


def run(folder: Path, *words: str) -> Path:
    return train(load([*TINY, *words, f"output={folder}"]), progress=False)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run(tmp_path_factory.mktemp("run"), "arm=looped_gated", "arm.refinement.steps=3")


def analysis(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((path / "analysis.json").read_text())
    return found


def test_a_run_has_tables_by_grade_and_clues_gates_by_kind_of_cell_and_pictures(path: Path) -> None:
    summary, found = json.loads((path / "summary.json").read_text()), analysis(path)
    assert summary["ceiling"] == 1
    assert set(summary["references_by_metric"]) == {"exact", "blanks"}
    assert {"exact_mean_gates", "blanks_mean_gates"} <= set(found["metrics"])
    tables = {table["title"]: table for table in found["tables"]}
    assert [row[0] for row in tables["Puzzles solved"]["rows"]] == [
        *("model", "guess", "majority", "candidates", "singles")
    ]
    assert [row[:2] for row in tables["By guesses"]["rows"]] == [["0", 16]]
    assert sum(row[1] for row in tables["By number of clues"]["rows"]) == 16
    assert "By rating" not in tables
    by_step = tables["Heads along rows, columns and boxes"]
    assert by_step["columns"] == ["", "row", "column", "box", "global"]
    assert [row[0] for row in by_step["rows"]] == ["step 1", "step 2", "step 3"]
    kinds = tables["The same by kind of cell"]["rows"]
    assert "naked single, step 1" in [row[0] for row in kinds]
    for number, mean in enumerate(by_step["rows"]):
        own = [row for row in kinds if row[0].endswith(f"step {number + 1}")]
        clues, whole = next(row for row in own if row[0].startswith("clue")), 16 * 16
        asked = [row for row in own if row[0].startswith(("naked", "later"))]
        assert clues[1] < whole
        assert asked
        assert min(row[2] for row in own) <= mean[1] <= max(row[2] for row in own)
    assert len(found["figures"]) == 4
    assert all(figure["svg"].startswith("<svg") for figure in found["figures"])


def test_ratings_of_a_file_have_a_table(tmp_path: Path) -> None:
    table = tmp_path / "rated.csv"
    lines = [f"{plain.SMALL},{rating}" for rating in (3, 3, 3, 9, 9, 40)]
    table.write_text("question,rating\n" + "\n".join(lines) + "\n")
    found = analysis(run(tmp_path / "run", "arm=looped", f"task.test_file={table}", "task.test_puzzles=6"))
    tables = {one["title"]: one for one in found["tables"]}
    assert [row[:2] for row in tables["By rating"]["rows"]] == [["3", 3], ["9", 2], ["40", 1]]
    assert not any("Heads along" in title for title in tables), "nothing is routed"


def test_cells_are_told_apart_by_what_settles_them() -> None:
    clues = plain.grid(plain.HARD)
    found = gates.kinds(torch.tensor([clues]), (3, 3))
    left = {cell: plain.candidates(clues, cell, (3, 3)) for cell, digit in enumerate(clues) if not digit}
    own = [[unit for unit in plain.units((3, 3)) if cell in unit] for cell in range(81)]
    for cell in range(81):
        named = {kind for kind, which in found.items() if which[0, cell]}
        if cell not in left:
            assert named == {"clue"}
        elif len(left[cell]) == 1:
            assert named == {"naked single"}
        else:
            hidden = {
                f"hidden single, {name}"
                for name, unit in zip(("row", "column", "box"), own[cell], strict=True)
                if any(all(digit not in left.get(other, ()) for other in unit if other != cell) for digit in left[cell])
            }
            assert named == (hidden or {"later"})
    assert found["later"].any()
    assert any(which.any() for kind, which in found.items() if kind.startswith("hidden"))


def puzzles(folder: Path, *lines: str) -> Path:
    path = folder / "mine.txt"
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


def test_solve_writes_a_line_for_each_puzzle_and_says_which_are_not_valid(
    path: Path, tmp_path: Path, capsys: Captured
) -> None:
    mine = puzzles(tmp_path, "# mine", plain.SMALL, plain.SMALL)
    assert cli.main(["solve", str(path), str(mine)]) == 0
    said = capsys.readouterr()
    first, second = said.out.splitlines()
    assert first == second
    assert all(answer == clue or clue == "." for answer, clue in zip(first, plain.SMALL, strict=True))
    right = first == plain.SMALL_SOLUTION
    assert ("2 of 2 puzzles solved" in said.err) == right
    assert ("not valid: line 2, 3" in said.err) != right
    output = tmp_path / "new" / "solutions.txt"
    assert cli.main(["solve", str(path), str(mine), f"output={output}", "--json"]) == 0
    assert output.read_text() == said.out
    found = json.loads(capsys.readouterr().out)
    assert found["puzzles"] == 2
    assert found["not_valid"] == ([] if right else [2, 3])
    assert cli.main(["solve", str(path), str(mine), f"output={output}"]) == 2, "no file is replaced"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("1...............", "line 2: several solutions"),
        ("11..............", "line 2: clues clash"),
        (plain.EASY, "line 2: 81 characters; expected 16"),
    ],
)
def test_a_file_with_a_mistake_is_refused_as_a_whole(
    path: Path, tmp_path: Path, capsys: Captured, line: str, message: str
) -> None:
    mine, output = puzzles(tmp_path, plain.SMALL, line), tmp_path / "solutions.txt"
    assert cli.main(["solve", str(path), str(mine), f"output={output}"]) == 2
    said = capsys.readouterr()
    assert message in said.err
    assert (said.out, output.exists()) == ("", False)
    if "several" in message:
        assert cli.main(["solve", str(path), str(mine), "check=false"]) == 0
        assert len(capsys.readouterr().out.splitlines()) == 2


def test_what_is_not_solved_is_tried_again_with_noise_and_a_wrong_answer_replaces_none(
    path: Path, tmp_path: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = torch.tensor([[int(digit) for digit in plain.SMALL_SOLUTION]])
    asked = []

    def answer(model: object, clues: torch.Tensor, keys: torch.Tensor, noise: float) -> torch.Tensor:
        asked.append((keys.tolist(), noise))
        wrong = torch.full_like(clues, 1 + min(len(asked), 2))  # the first says 2, the others 3
        solved = keys == keys_of(torch.tensor([0, 1, 2]), len(asked) - 1)[1 if len(asked) == 2 else 0]
        return torch.where(solved[:, None] & (len(asked) > 1), right, wrong)

    monkeypatch.setattr(solve, "_answer", answer)
    mine = puzzles(tmp_path, plain.SMALL, plain.SMALL, plain.SMALL)
    assert cli.main(["solve", str(path), str(mine), "restarts=3", "noise=0.1"]) == 0
    said = capsys.readouterr()
    assert said.out.split() == [plain.SMALL_SOLUTION, plain.SMALL_SOLUTION, "2" * 16]
    assert "headwise: 3 of 3 puzzles are tried again, at most 2 times\n" in said.err
    assert "2 of 3 puzzles solved" in said.err
    keys = [keys_of(torch.tensor([0, 1, 2]), restart).tolist() for restart in range(3)]
    assert asked == [(keys[0], 0.0), (keys[1], 0.1), ([keys[2][0], keys[2][2]], 0.1)]


def test_an_answer_that_keeps_the_rules_but_not_the_clues_is_tried_again(
    path: Path, tmp_path: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = torch.tensor([[int(digit) for digit in plain.SMALL_SOLUTION]])
    answers = iter([right % 4 + 1, right])  # other names of the digits: a valid board of another puzzle
    monkeypatch.setattr(solve, "_answer", lambda *asked: next(answers).clone())
    assert cli.main(["solve", str(path), str(puzzles(tmp_path, plain.SMALL)), "restarts=2", "noise=0.1"]) == 0
    assert capsys.readouterr().out.strip() == plain.SMALL_SOLUTION


def test_more_steps_and_restarts_answer_the_same_in_whatever_batches(
    path: Path, tmp_path: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = puzzles(tmp_path, *[plain.SMALL] * 3)
    single, outputs = solve._answer, []
    # in float64, where no processor's way of adding up decides between two digits
    monkeypatch.setattr(solve, "_answer", lambda model, *asked: single(model.double(), *asked))
    for size in (250, 1):
        monkeypatch.setattr(solve, "BATCH", size)
        assert cli.main(["solve", str(path), str(mine), "steps=3x", "restarts=3", "noise=0.5"]) == 0
        outputs.append(capsys.readouterr().out)
    assert outputs[0] == outputs[1]


def test_steps_are_those_that_the_model_takes(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    taken = []

    def forward(self: Refiner, *args: Any, **more: Any) -> Any:
        taken.append(self.config.steps_in_all)
        return before(self, *args, **more)

    before = Refiner.forward
    monkeypatch.setattr(Refiner, "forward", forward)
    for words in ((), ("steps=3x",), ("steps=5",)):
        assert cli.main(["solve", str(path), str(puzzles(tmp_path, plain.SMALL)), *words]) == 0
    assert taken == [taken[0], 3 * taken[0], 5]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["steps=0"], "steps=0: choose a multiple of those trained, as 4x, or a number of steps"),
        (["restarts=0"], "restarts=0: choose 1 or more"),
        (["restarts=4"], "restarts=4: every one would answer the same, as nothing is drawn; add noise=0.03, say"),
        (["noise=0.1"], "noise=0.1: of restarts, and there are none; add restarts=8, say"),
        (["restarts=2", "noise=-1"], "noise=-1.0: choose a standard deviation of 0 or more"),
    ],
)
def test_steps_and_restarts_that_mean_nothing_are_refused(
    path: Path, tmp_path: Path, capsys: Captured, words: list[str], message: str
) -> None:
    output = tmp_path / "solutions.txt"
    assert cli.main(["solve", str(path), str(puzzles(tmp_path, plain.SMALL)), f"output={output}", *words]) == 2
    assert message in capsys.readouterr().err
    assert not output.exists()


def test_an_answer_follows_the_key_of_its_puzzle_where_there_is_noise_and_not_where_there_is_none(path: Path) -> None:
    model = evaluation.load(path).double()
    clues = torch.zeros(3, 16, dtype=torch.int64)  # nothing but the key tells the three apart
    keys = keys_of(torch.tensor([0, 1, 0]), 7)
    noisy = solve._answer(model, clues, keys, 100.0)
    assert torch.equal(noisy[0], noisy[2])
    assert not torch.equal(noisy[0], noisy[1])
    assert not torch.equal(noisy, solve._answer(model, clues, keys_of(torch.tensor([0, 1, 0]), 8), 100.0))
    assert len(solve._answer(model, clues, keys, 0.0).unique(dim=0)) == 1
