"""`headwise solve`: solutions of puzzles in a file, by the model of a run.

Loading a run is the business of layers to the right, so the function that does it is an argument.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from headwise.errors import InputError
from headwise.files import make_folder, user_path, write_text
from headwise.reasoning.depth import depth_of
from headwise.reasoning.draws import keys_of
from headwise.schema import FilePath, argument
from headwise.tasks.base import KEYS, Ending, TaskModel, Writing
from headwise.tasks.new_files import check_place
from headwise.tasks.sudoku.board import text_of
from headwise.tasks.sudoku.imports import clues_of, puzzle_of, read_lines
from headwise.tasks.sudoku.metrics import keeps_clues, valid
from headwise.tasks.sudoku.model import SudokuTask

BATCH = 250
"""Puzzles solved at once."""
NAMED = 5
"""Wrong answers that are named on standard error; --json has all of them."""


@dataclass(frozen=True)
class Options:
    """Solve the puzzles of a file with the model of a run of task=sudoku.

    Writes a line for each, in the same alphabet, whether it is right or not; which are not valid, and which change a
    clue, goes to standard error. A file with a mistake in it is refused as a whole.

    A puzzle whose answer breaks a rule or changes a clue may be tried again, since that much is known without the
    solution: puzzles harder than those trained on take more steps, and some a restart with other draws
    (docs/sudoku.md).

    Args:
        run: the run's directory, or the name of a model (headwise list weights).
        file: plain lines of a puzzle each (. or 0 a blank, 1-9, A-G), or a .csv table with a column question.
        steps: how many, or a multiple of those trained, 8x; default null: those trained.
        restarts: how often a puzzle is tried at most; default 1. From the second time on with noise.
        noise: standard deviation of the noise on the path in restarts. Without it, the default, only arms with random
            initial states have others.
        output: a file for the solutions, .txt; default null: standard output.
        check: solve every puzzle with the solver, too, and refuse those without exactly one solution; default true. Of
            16 x 16 cells that may take long.
    """

    run: FilePath = argument()
    file: FilePath = argument()
    steps: str | int | float | None = None
    restarts: int = 1
    noise: float = 0.0
    output: FilePath | None = None
    check: bool = True

    def __post_init__(self) -> None:
        if self.restarts < 1:
            raise ValueError(f"restarts={self.restarts}: choose 1 or more")
        if not self.noise >= 0:
            raise ValueError(f"noise={self.noise}: choose a standard deviation of 0 or more")
        if self.noise and self.restarts == 1:
            raise ValueError(f"noise={self.noise}: of restarts, and there are none; add restarts=8, say")


def run(options: Options, load: Callable[[str], TaskModel]) -> Writing:
    """Solve a file.

    Args:
        options: what is solved, by which model.
        load: run directory -> model; `headwise.training.evaluation.load`.

    Returns:
        Solutions, a line each; at the end {"puzzles", "valid": how many, "not_valid": [line, ...], "changed_clues":
        [line, ...]}; a line is where the puzzle stands in the file.

    Raises:
        InputError: a run of another task, a file that is missing, or a puzzle that is not right, with its line.
    """
    if not user_path(options.file).exists():  # said before a model is loaded
        raise InputError(f"{options.file}: not found")
    if options.output is not None:
        check_place("output", user_path(options.output), (".txt",))
    model = load(options.run)
    task = model.task
    if not isinstance(task, SudokuTask):
        raise InputError(f"{options.run}: a model of the task {task.name}; solve needs one of sudoku")
    loop = model.backbone.arm.refinement
    if options.restarts > 1 and not (options.noise or loop.initial_state.draws):
        raise InputError(
            f"restarts={options.restarts}: every one would answer the same, as nothing is drawn; add noise=0.03, say"
        )
    if options.steps is not None:
        depth = depth_of(options.steps, loop)
        model.backbone.set_steps(depth.each, depth.segments)
    box = task.config.sides
    lines = [replace(line, answer=None, rating=None) for line in read_lines(user_path(options.file))]
    if options.check:
        clues = np.concatenate([puzzle_of(line, box).clues for line in lines])
    else:
        clues = np.stack([clues_of(line, box) for line in lines])
    return _writing(model, clues, [line.where.rpartition(" line ")[2] for line in lines], options)


def _writing(model: TaskModel, clues: np.ndarray, places: list[str], options: Options) -> Writing:
    task, output = model.task, options.output
    assert isinstance(task, SudokuTask)
    not_valid, changed, texts = list[int](), list[int](), list[str]()
    numbers = iter(map(int, places))
    for given, answer in _answers(model, torch.from_numpy(clues.astype(np.int64)), options):
        sound, kept = valid(answer, task.config.sides), keeps_clues(answer, given)
        for one, right, keeps in zip(answer.tolist(), sound.tolist(), kept.tolist(), strict=True):
            number = next(numbers)
            texts.append(text_of(one) + "\n")
            if not right:
                not_valid.append(number)
            if not keeps:
                changed.append(number)
        if output is None:
            yield "".join(texts)
            texts.clear()
    if output is not None:
        make_folder(user_path(output).parent)
        write_text(user_path(output), "".join(texts))
    wrong = len(set(not_valid) | set(changed))
    _say(f"{len(clues) - wrong} of {len(clues)} puzzles solved")
    for what, which in (("not valid", not_valid), ("a clue is changed", changed)):
        if which:
            more = f" and {len(which) - NAMED} more" if len(which) > NAMED else ""
            _say(f"{what}: line {', '.join(map(str, which[:NAMED]))}{more}")
    found = {"puzzles": len(clues), "valid": len(clues) - wrong, "not_valid": not_valid, "changed_clues": changed}
    return Ending(found)


def _answers(model: TaskModel, clues: Tensor, options: Options) -> Iterator[tuple[Tensor, Tensor]]:
    """Clues and answers [B, C] of some puzzles at a time."""
    task = model.task
    assert isinstance(task, SudokuTask)
    for numbers in torch.split(torch.arange(len(clues)), BATCH):
        given = clues[numbers]
        answer = _answer(model, given, keys_of(numbers, 0), 0.0)
        for restart in range(1, options.restarts):
            unsolved = (~_sound(task, answer, given)).nonzero().flatten()
            if not len(unsolved):
                break
            if restart == 1:  # which may take minutes
                _say(f"{len(unsolved)} of {len(given)} puzzles are tried again, at most {options.restarts - 1} times")
            other = _answer(model, given[unsolved], keys_of(numbers[unsolved], restart), options.noise)
            better = _sound(task, other, given[unsolved])  # where none is, the first stays
            answer[unsolved[better]] = other[better]
        yield given, answer


@torch.no_grad()
def _answer(model: TaskModel, clues: Tensor, keys: Tensor, noise: float) -> Tensor:
    """One answer to each puzzle [B, C]; its key says what is drawn for it."""
    task, device = model.task, next(model.parameters()).device
    assert isinstance(task, SudokuTask)
    model.backbone.set_noise(noise)
    batch = {"clues": clues.to(device), KEYS: keys.to(device)}
    return task.answer(task.read_out(model(batch).states[-1], batch), batch).cpu()


def _sound(task: SudokuTask, answer: Tensor, clues: Tensor) -> Tensor:
    """Whether the answers [B, C] keep the rules and the clues, [B]."""
    return valid(answer, task.config.sides) & keeps_clues(answer, clues)


def _say(line: str) -> None:
    print("headwise:", line, file=sys.stderr)
