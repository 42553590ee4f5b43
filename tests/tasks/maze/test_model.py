"""The two ends of the model: what it sees, that every parameter is reached, and that weights fit larger mazes."""

from typing import Any

import pytest
import torch
from torch import Tensor

from headwise.errors import InputError
from headwise.models.arm import Arm
from headwise.models.backbone import Backbone
from headwise.models.roles import parameters_by_role
from headwise.models.sizes import ModelConfig
from headwise.reasoning.refinement import RefinementConfig
from headwise.schema import build
from headwise.tasks.base import Batch, TaskModel
from headwise.tasks.maze import MazeConfig, MazeData, MazeTask
from headwise.tasks.maze.batch import tensors
from headwise.tasks.maze.generate import GeneratorConfig, generate
from headwise.tasks.maze.lattice import neighbours as plain_neighbours
from headwise.tasks.maze.model import neighbours
from headwise.tasks.maze.tokens import bits
from headwise.training.config import RunConfig
from headwise.training.objective import objective

from ...laws.arms import HRM, TOKEN

MAZES = generate(GeneratorConfig(size=5, min_path_length=6), 12, seed=0)
SHAPE = {"width": 16, "heads": 4, "ffn": 24}
CNN = {"name": "cnn", "features": 6}
OPTIONS: dict[str, tuple[dict[str, Any], dict[str, int]]] = {
    "grid": ({}, {}),
    "relative": ({"positions": "relative"}, {"relative": 2}),
    "both_positions": ({}, {"relative": 2}),
    "structural": ({"positions": "none"}, {"structural_heads": 2}),
    "all_structural": ({"positions": "none"}, {"structural_heads": 4}),
    "recipe": ({"positions": "relative"}, {"structural_heads": 2, "relative": 3}),
    "cnn": ({"encoder": CNN, "positions": "none"}, {}),
    "cnn_summary": ({"encoder": CNN | {"local": False}}, {}),
    "cnn_local": ({"encoder": CNN | {"summary": False, "layers": 1}}, {}),
    "next_cell": ({"read_out": "next_cell"}, {}),
    "horizons": ({"read_out": {"name": "next_cell", "horizon": 3}}, {"structural_heads": 2}),
    "every_cell": ({"read_out": {"name": "next_cell", "supervise": "all", "validity_mask": False}}, {}),
}


def perturbed(name: str, arm: Arm = HRM) -> TaskModel:
    """A model away from its start, where a router at zero hides what is behind it."""
    task, shape = OPTIONS[name]
    config = RunConfig(build(MazeConfig, {"size": 5, **task}, "task"), arm, ModelConfig(**SHAPE, **shape))
    torch.manual_seed(0)
    data = MazeData(config.task, 0)
    model = TaskModel(MazeTask(config.task, data.facts, 16), Backbone(config.model, arm)).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return model


def unreached(model: TaskModel, batch: Batch) -> list[str]:
    """Parameters whose gradient is missing or below 1e-6 of the largest, in relation to their own size."""
    model.zero_grad()
    objective(model, batch, {"entropy": 0.0}).loss.backward()
    norms = {
        name: 0.0 if p.grad is None else (p.grad.norm() / p.detach().norm()).item()
        for name, p in model.named_parameters()
    }
    return [name for name, norm in norms.items() if not norm > 1e-6 * max(norms.values())]


@pytest.mark.parametrize("arm", [HRM, TOKEN, Arm()], ids=["hrm", "token", "baseline"])
@pytest.mark.parametrize("name", OPTIONS)
def test_every_parameter_gets_a_gradient_and_moves(name: str, arm: Arm) -> None:
    model = perturbed(name, arm)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0, fused=True)
    assert unreached(model, tensors(MAZES)) == []
    optimiser.step()
    assert [name for name, p in model.named_parameters() if torch.equal(p, before[name])] == []
    assert set(parameters_by_role(model)) >= {"backbone", "readout"}


def test_every_row_and_column_has_an_embedding_that_trains() -> None:
    model = perturbed("grid")
    unreached(model, tensors(MAZES))
    for embedding in (model.task.cells.row, model.task.cells.column):
        assert embedding.weight.grad.shape == (5, 16)
        assert embedding.weight.grad.norm(dim=1).min() > 0


@pytest.mark.parametrize("name", OPTIONS)
def test_a_maze_does_not_depend_on_its_batch(name: str) -> None:
    model, batch = perturbed(name).eval(), tensors(MAZES)
    with torch.no_grad():
        together = model.task.read_out(model(batch).states[-1], batch)
        for i in (0, 7):
            alone = {key: array[[i]] for key, array in batch.items()}
            torch.testing.assert_close(model.task.read_out(model(alone).states[-1], alone)[0], together[i])


def test_a_cell_is_its_four_walls_and_the_two_ends() -> None:
    batch = tensors(MAZES)
    seen = bits(batch, torch.float32)
    assert seen.shape == (12, 25, 6)
    assert torch.equal(seen[..., :4] == 0, batch["open"].flatten(1, 2))
    assert torch.equal(seen[..., 4].argmax(1), batch["start"])
    assert torch.equal(seen[..., 5].argmax(1), batch["goal"])
    assert seen[..., 4:].sum(1).eq(1).all()


def test_the_model_sees_walls_and_ends_and_nothing_of_the_answer() -> None:
    """The published model saw zeros in place of the walls."""
    model, batch = perturbed("recipe").eval(), tensors(MAZES)

    def read(changes: dict[str, Tensor]) -> Tensor:
        given = batch | changes
        with torch.no_grad():
            return model.task.read_out(model(given).states[-1], given)

    answer = {name: torch.zeros_like(batch[name]) for name in ("path", "on_path", "length", "optimal")}
    assert torch.equal(read(answer), read({}))
    for name in ("open", "start", "goal"):
        other = batch[name].roll(1, 0) if name == "open" else (batch[name] + 1) % 25
        assert not torch.isclose(read({name: other}), read({})).all(2).all(1).any(), name


def test_neighbours_are_the_cells_behind_open_passages() -> None:
    found = neighbours(tensors(MAZES))
    assert torch.equal(found, torch.from_numpy(plain_neighbours(MAZES.open)))
    assert torch.equal(found, found.mT)


def test_with_structural_heads_alone_news_travels_one_passage_a_step() -> None:
    arm = Arm(refinement=RefinementConfig(steps=3, injection="input"))
    model, batch = perturbed("all_structural", arm).eval(), tensors(MAZES)
    other = batch | {"goal": (batch["goal"] + 1) % 25}
    with torch.no_grad():
        differs = (model(batch).states[-1] != model(other).states[-1]).any(-1)  # [B, L]
    near = neighbours(batch) | torch.eye(25, dtype=torch.bool)
    reach = torch.zeros(12, 25, 1, dtype=torch.double)
    for cell in (batch["goal"], other["goal"]):
        reach[torch.arange(12), cell] = 1
    for _ in range(3):
        reach = (near.double() @ reach).clamp(max=1)
    assert torch.equal(differs, reach[..., 0] > 0)
    assert not differs.all()


def test_weights_with_relative_positions_take_mazes_of_every_size() -> None:
    small, large = (MazeConfig(size=n, positions="relative") for n in (5, 9))
    shape = ModelConfig(**SHAPE, relative=3, structural_heads=2)
    models = [TaskModel(MazeTask(c, MazeData(c, 0).facts, 16), Backbone(shape, HRM)) for c in (small, large)]
    models[1].load_state_dict(models[0].state_dict())
    batch = MazeData(MazeConfig(size=9, test_mazes=3), 0).split("test").batch(torch.arange(3))
    with torch.no_grad():
        marks = models[1].task.read_out(models[1].eval()(batch).states[-1], batch)
    assert marks.shape == (3, 9, 9)
    fixed = MazeConfig(size=9)
    assert MazeData(fixed, 0).facts == {"size": 9}
    assert MazeTask(fixed, {"size": 9}, 16).cells.row.weight.shape == (9, 16)


def test_positions_that_do_not_go_together_are_refused() -> None:
    for positions, shape, message in [
        ("relative", {}, "task.positions=relative: the backbone knows no offsets; choose model.relative=1"),
        ("none", {"relative": 2}, "model.relative=2: task.positions=none"),
        ("none", {"rotary": True}, "model.rotary=true: task.positions=none"),
    ]:
        with pytest.raises(InputError, match=message) as error:
            RunConfig(MazeConfig(positions=positions), model=ModelConfig(**shape))
        assert "\n" not in str(error.value)
    for positions in ("relative", "absolute"):
        RunConfig(MazeConfig(positions=positions), model=ModelConfig(rotary=True))


@pytest.mark.parametrize("read_out", ["grid", "next_cell"])
def test_a_plain_torch_loop_learns_the_way_through_small_mazes(read_out: str) -> None:
    """Twelve mazes by heart: the loss falls to near its least, and every walk becomes the shortest."""
    torch.manual_seed(0)
    config = build(MazeConfig, {"size": 5, "positions": "relative", "read_out": read_out}, "task")
    shape = ModelConfig(width=32, heads=4, ffn=64, relative=3, structural_heads=2)
    arm = Arm(refinement=RefinementConfig(steps=4, injection="input"))
    model, batch = TaskModel(MazeTask(config, {}, 32), Backbone(shape, arm)), tensors(MAZES)
    optimizer, losses = torch.optim.AdamW(model.parameters(), lr=1e-2), []
    for _ in range(100):
        optimizer.zero_grad()
        loss = objective(model, batch, {}).loss
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    found = model.task.metrics(model.task.read_out(model(batch).states[-1], batch), batch)
    assert losses[-1] < 0.5 * losses[0]
    assert found["optimal"].eq(1).all()
