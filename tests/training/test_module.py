"""A user's own model and data through `HeadwiseModule` and a Trainer of their own."""

import pytest
import torch
from lightning.pytorch import Trainer
from lightning.pytorch.plugins import MixedPrecision
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.data import DataLoader, Dataset

from headwise.errors import InputError
from headwise.training.divergence import FiniteGuard, TrainingDiverged
from headwise.training.module import HeadwiseModule
from headwise.training.optim import OptimizerMismatchError, Stable, optimizer_for
from tests.training.recipes import OwnModel, own_batches, squared_error

# Lightning asks torch in a way that torch has deprecated, and would like more processes than eight numbers need.
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning"),
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),
    pytest.mark.filterwarnings("ignore:.*srun"),  # where Slurm is installed
]


def trainer(**options: object) -> Trainer:
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    return Trainer(accelerator="cpu", enable_model_summary=False, **quiet, **options)  # type: ignore[arg-type]


def loader(count: int) -> DataLoader[dict[str, Tensor]]:
    return DataLoader(own_batches(count), batch_size=None)  # type: ignore[arg-type]


class Points(Dataset[dict[str, Tensor]]):
    def __len__(self) -> int:
        return 64

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        x = torch.randn(3, generator=torch.Generator().manual_seed(index))
        return {"x": x, "y": x.sum()}


def test_a_users_own_model_and_data_loader_train() -> None:
    model = OwnModel()
    every = [Points()[i] for i in range(len(Points()))]
    points = {key: torch.stack([point[key] for point in every]) for key in ("x", "y")}
    before = squared_error(model, points)[0].item()
    module = HeadwiseModule(model, squared_error, Stable(lr=1e-2, controller_lr=1e-2, readout_lr=1e-2))
    trainer(max_epochs=10).fit(module, DataLoader(Points(), batch_size=8, shuffle=True))
    assert squared_error(model, points)[0].item() < 0.3 * before
    assert set(module.guard.norms) == {"backbone", "controller", "readout"}


def test_the_module_takes_the_same_steps_as_a_plain_loop_with_the_same_parts() -> None:
    ours, plain = OwnModel(), OwnModel()
    plain.load_state_dict(ours.state_dict())
    trainer(max_epochs=1).fit(HeadwiseModule(ours, squared_error, "uniform"), loader(6))
    optimizer = optimizer_for(plain, "uniform")
    for batch in own_batches(6):
        optimizer.zero_grad()
        squared_error(plain, batch)[0].backward()
        nn.utils.clip_grad_norm_(plain.parameters(), 1.0)
        optimizer.step()
    for a, b in zip(ours.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-7)


def test_an_optimiser_cached_from_another_model_stops_the_run_before_it_starts() -> None:
    """The original's mistake; without the check the run would go on and change nothing."""
    first, second = OwnModel(), OwnModel()
    cached = optimizer_for(first)

    class Cached(HeadwiseModule):
        def configure_optimizers(self) -> Optimizer:
            return cached

    class Unchecked(Cached):
        def on_fit_start(self) -> None:
            """The check left out."""

    before = [parameter.clone() for parameter in second.parameters()]
    trainer(max_epochs=1).fit(Unchecked(second, squared_error), loader(3))
    assert all(torch.equal(a, b) for a, b in zip(second.parameters(), before, strict=True))
    with pytest.raises(OptimizerMismatchError, match="untrained"):
        trainer(max_epochs=1).fit(Cached(second, squared_error), loader(3))


def blow_up(model: nn.Module, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
    """Only the gate's gradient overflows: x ↦ sqrt(x - x) has slope infinity and value 0."""
    weight = model.gate.linear.weight  # type: ignore[union-attr]
    loss, logs = squared_error(model, batch)
    return loss + (weight - weight.detach()).square().sum().sqrt(), logs


def test_an_overflowing_gradient_stops_before_the_weights_are_touched_and_names_the_role() -> None:
    model = OwnModel()
    before = [parameter.clone() for parameter in model.parameters()]
    with pytest.raises(TrainingDiverged, match=r"update 1: .*blew up in controller") as error:
        trainer(max_epochs=1).fit(HeadwiseModule(model, blow_up), loader(3))
    assert (error.value.update, error.value.role) == (1, "controller")
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), before, strict=True))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"gradient_clip_val": 0.5}, "gradient_clip_val=0.5"),
        ({"plugins": [MixedPrecision("16-mixed", "cpu", torch.amp.GradScaler("cpu"))]}, "choose bf16-mixed"),
    ],
)
def test_a_trainer_that_would_undo_clipping_by_role_is_refused(options: dict[str, object], said: str) -> None:
    with pytest.raises(InputError, match=said):
        trainer(max_epochs=1, **options).fit(HeadwiseModule(OwnModel(), squared_error), loader(3))


@pytest.mark.filterwarnings("ignore:.*returned `None`")  # it is on purpose
def test_a_loss_of_none_skips_the_batch() -> None:
    """As Lightning has it."""
    ours, plain = OwnModel(), OwnModel()
    plain.load_state_dict(ours.state_dict())
    skipped = iter([False, True, False])

    def some(model: nn.Module, batch: dict[str, Tensor]) -> tuple[Tensor | None, dict[str, Tensor]]:
        return (None, {}) if next(skipped) else squared_error(model, batch)

    trainer(max_epochs=1).fit(HeadwiseModule(ours, some), loader(3))
    batches = own_batches(3)
    trainer(max_epochs=1).fit(
        HeadwiseModule(plain, squared_error), DataLoader([batches[0], batches[2]], batch_size=None)
    )  # type: ignore[arg-type]
    for a, b in zip(ours.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(a, b)


class LookingLate(HeadwiseModule):
    """Reads losses as seldom as on an accelerator."""

    def on_fit_start(self) -> None:
        super().on_fit_start()
        self.guard.every = 16


def test_what_was_not_read_yet_is_read_before_weights_are_saved_or_training_ends() -> None:
    batches = [dict(batch) for batch in own_batches(6)]
    batches[3]["y"] = batches[3]["y"] * torch.nan
    module = LookingLate(OwnModel(), squared_error)
    with pytest.raises(TrainingDiverged, match="update 4"):
        trainer(max_epochs=1).fit(module, DataLoader(batches, batch_size=None))  # type: ignore[arg-type]
    module.guard.watch(1, torch.tensor(torch.nan), {})
    with pytest.raises(TrainingDiverged):
        module.on_save_checkpoint({})


def watched(guard: FiniteGuard, update: int, loss: float, **norms: float) -> None:
    guard.watch(update, torch.tensor(loss), {role: torch.tensor(norm) for role, norm in norms.items()})


def test_when_all_roles_are_spoiled_at_once_the_one_that_had_grown_is_named() -> None:
    guard = FiniteGuard()
    for update in range(1, 9):
        watched(guard, update, 1.0, backbone=1.0, controller=0.01)
    watched(guard, 9, 1.0, backbone=2.0, controller=5.0)
    with pytest.raises(TrainingDiverged, match=r"update 10: loss nan, .*controller \(gradient norm 5 .* usually 0.01"):
        watched(guard, 10, float("nan"), backbone=float("nan"), controller=float("nan"))


def test_on_an_accelerator_the_first_bad_update_is_named_although_it_is_read_later() -> None:
    guard = FiniteGuard(every=4)
    watched(guard, 1, 1.0, backbone=1.0)
    watched(guard, 2, float("inf"), backbone=1.0)
    watched(guard, 3, float("nan"), backbone=float("nan"))
    with pytest.raises(TrainingDiverged) as error:
        watched(guard, 4, float("nan"), backbone=float("nan"))
    assert error.value.update == 2
    assert guard.loss == float("inf")
