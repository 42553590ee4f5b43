"""Losses of the two read-outs against their definitions, cell by cell, and what their scores lead to."""

import itertools
import math

import numpy as np
import pytest
import torch

from headwise.tasks.maze.batch import tensors
from headwise.tasks.maze.generate import GeneratorConfig, generate
from headwise.tasks.maze.lattice import Mazes, strides
from headwise.tasks.maze.read_outs import Grid, MarkedCells, Moves, NextCell, followed

PERFECT = generate(GeneratorConfig(size=5, min_path_length=6), 20, seed=0)
LOOPS = generate(GeneratorConfig(size=5, family="percolation", loops=0.6, min_path_length=4), 20, seed=0)
SIDE = 5


def moves(**settings: object) -> Moves:
    return Moves(NextCell(**settings), 8).double()


def scores(horizon: int = 1, count: int = 20) -> torch.Tensor:
    return torch.randn(count, SIDE, SIDE, horizon, 4, dtype=torch.float64)


def test_marks_are_scored_by_binary_cross_entropy_of_every_cell() -> None:
    batch, marks = tensors(PERFECT), torch.randn(20, SIDE, SIDE, dtype=torch.float64)
    read_out = MarkedCells(Grid(), 8)
    sums, counts = read_out.loss(marks, batch), read_out.terms(batch)
    probability = marks.sigmoid()
    expected = -torch.where(batch["on_path"], probability, 1 - probability).log().sum((1, 2))
    torch.testing.assert_close(sums, expected)
    assert counts.tolist() == [25.0] * 20


def plain_first_move(all_scores: torch.Tensor, mazes: Mazes, settings: NextCell) -> list[float]:
    """Cell by cell, the softmax over the open passages alone."""
    batch, losses = tensors(mazes), []
    for i in range(len(mazes)):
        total = 0.0
        for cell in range(SIDE * SIDE):
            row, column = divmod(cell, SIDE)
            best = [d for d in range(4) if batch["optimal"][i, row, column, d]]
            if not best or (settings.supervise == "path" and cell not in mazes.path[i].tolist()):
                continue
            open_ = [d for d in range(4) if mazes.open[i, row, column, d]]
            score = all_scores[i, row, column, 0].tolist()
            below = sum(math.exp(score[d]) for d in (open_ if settings.validity_mask else range(4)))
            for d in open_:
                share = (1 - settings.label_smoothing) * (d in best) / len(best) + settings.label_smoothing / len(open_)
                total -= share * math.log(math.exp(score[d]) / below)
        losses.append(total)
    return losses


@pytest.mark.parametrize("mazes", [PERFECT, LOOPS], ids=["perfect", "loops"])
@pytest.mark.parametrize("supervise", ["path", "all"])
@pytest.mark.parametrize("validity_mask", [True, False])
def test_the_first_move_is_smoothed_over_open_passages(mazes: Mazes, supervise: str, validity_mask: bool) -> None:
    read_out = moves(supervise=supervise, validity_mask=validity_mask)
    given = scores()
    sums, counts = read_out.loss(given, tensors(mazes)), read_out.terms(tensors(mazes))
    assert sums.tolist() == pytest.approx(plain_first_move(given, mazes, read_out.config))
    cells = mazes.length if supervise == "path" else np.full(20, SIDE**2 - 1)
    assert counts.tolist() == cells.tolist()


def test_scores_of_closed_passages_neither_change_the_masked_loss_nor_get_a_gradient() -> None:
    """Smoothing over four moves of which two were at -1e9 made the published loss meaningless."""
    batch, given = tensors(PERFECT), scores().requires_grad_()
    changed = torch.where(batch["open"][..., None, :], given, -1e9)
    for smoothing in (0.0, 0.1):
        loss = moves(label_smoothing=smoothing).loss(given, batch).sum()
        assert loss.item() == pytest.approx(moves(label_smoothing=smoothing).loss(changed, batch).sum().item())
        assert loss.item() < 1e3
        (gradient,) = torch.autograd.grad(loss, given)
        assert torch.isfinite(gradient).all()
        assert (gradient[~batch["open"][..., None, :]] == 0).all()


def test_without_smoothing_and_ties_the_best_scores_are_those_of_the_best_moves() -> None:
    batch = tensors(PERFECT)
    sure = torch.where(batch["optimal"], 50.0, -50.0)[..., None, :]
    assert moves(label_smoothing=0.0, supervise="all").loss(sure, batch).max() < 1e-6
    found = moves().metrics(sure, batch)
    assert found["optimal"].eq(1).all()
    assert found["path_accuracy"].eq(1).all()


def test_later_moves_are_those_of_the_path_and_end_at_the_goal() -> None:
    batch = tensors(LOOPS)
    made = torch.stack(followed(batch, 3))  # [K, B, L]
    offsets = torch.from_numpy(strides(SIDE))
    for i in range(20):
        path = [cell for cell in LOOPS.path[i].tolist() if cell >= 0]
        for place, cell in enumerate(path):
            for k in range(3):
                move = int(made[k, i, cell])
                if place + k + 1 < len(path):
                    assert path[place + k] + int(offsets[move]) == path[place + k + 1]
                else:
                    assert move == -1


def test_later_moves_beside_the_path_bring_nearer_to_the_goal() -> None:
    batch = tensors(PERFECT)
    made = followed(batch, 2)
    cell = torch.arange(25).expand(20, -1)
    nearer = batch["optimal"].flatten(1, 2)
    first = made[0].clamp_min(0)
    known = made[0] >= 0
    assert nearer.gather(2, first[..., None])[..., 0][known].all()
    after = torch.where(known, cell + torch.from_numpy(strides(SIDE))[first], cell)
    second = made[1] >= 0
    then = nearer.gather(1, after[..., None].expand(-1, -1, 4))
    assert then.gather(2, made[1].clamp_min(0)[..., None])[..., 0][second].all()
    assert torch.equal(second, known & (after != batch["goal"][:, None]))


def test_each_horizon_adds_the_cross_entropy_of_its_move_over_all_four() -> None:
    batch, given = tensors(PERFECT), scores(3)
    sums, counts = moves(horizon=3).loss(given, batch), moves(horizon=3).terms(batch)
    first, ones = moves().loss(given[:, :, :, :1], batch), moves().terms(batch)
    expected = first.clone()
    for i in range(20):
        path = [cell for cell in PERFECT.path[i].tolist() if cell >= 0]
        steps = [strides(SIDE).tolist().index(b - a) for a, b in itertools.pairwise(path)]
        for place, cell in enumerate(path[:-1]):
            for k in (1, 2):
                if place + k < len(steps):
                    logs = given[i, cell // SIDE, cell % SIDE, k].log_softmax(-1)
                    expected[i] -= 0.9 * logs[steps[place + k]] + 0.1 * logs.mean()
    torch.testing.assert_close(sums, expected)
    assert counts.tolist() == (3 * ones - 3).tolist()  # the last move has no next, the two last none after that


@pytest.mark.parametrize("horizon", [1, 3])
def test_finite_differences_agree_with_the_gradient_of_the_loss(horizon: int) -> None:
    batch = {name: array[:2] for name, array in tensors(LOOPS).items()}
    given = scores(horizon, 2).requires_grad_()
    assert torch.autograd.gradcheck(lambda s: moves(horizon=horizon).loss(s, batch), given)


def test_marks_are_decoded_by_a_walk_that_enters_the_likeliest_cell() -> None:
    batch = tensors(PERFECT)
    marks = torch.where(batch["on_path"], 1.0, -1.0)
    found = MarkedCells(Grid(), 8).metrics(marks, batch)
    assert all(found[name].eq(1).all() for name in ("optimal", "reached", "exact_grid", "cell_accuracy"))
    # Below the threshold everywhere, but in the right order: the walk arrives, the grid is empty
    found = MarkedCells(Grid(), 8).metrics(marks - 2, batch)
    assert found["optimal"].eq(1).all()
    assert found["exact_grid"].eq(0).all()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"horizon": 0}, "horizon=0: choose 1"),
        ({"label_smoothing": 1.0}, "label_smoothing=1.0: choose 0 <="),
        ({"sure": 0.0, "decode": "each_step"}, "sure=0.0: choose a probability"),
        ({"sure": 0.5}, "sure=0.5: is about decode=each_step, .*; choose decode=each_step, or sure=null"),
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        NextCell(**settings)


def test_how_sure_is_sure_enough() -> None:
    assert NextCell(decode="each_step").sure_enough == 0.9
    assert NextCell(decode="each_step", sure=0.5).sure_enough == 0.5
    assert NextCell().sure is None
    # A run from before `sure` could be left open
    assert NextCell(decode="once", sure=0.9).decode == "once"
