"""The Lightning module that trains any model whose modules declare roles."""

from collections.abc import Callable
from typing import Any

try:
    from lightning.pytorch import LightningModule
except ImportError as error:
    raise ImportError("HeadwiseModule needs Lightning; pip install 'headwise[lightning]'") from error
from torch import Tensor, nn
from torch.optim import Optimizer

from headwise.errors import InputError
from headwise.training.divergence import FiniteGuard
from headwise.training.optim import Preset, check_optimizer, clip_by_role, optimizer_for, preset_of

_PLAIN = frozenset({"_current_fx_name", "logs", "_latest"})
LossFunction = Callable[[Any, Any], tuple[Tensor | None, dict[str, Tensor]]]


class HeadwiseModule(LightningModule):
    """Trains `model` on `loss(model, batch)` with learning rates and clipping by role, in any Lightning `Trainer`.

        module = HeadwiseModule(model, loss=lambda model, batch: (criterion(model(batch["x"]), batch["y"]), {}))
        Trainer(max_epochs=3).fit(module, DataLoader(...))

    Args:
        model: any module whose classes declare `role` (see `headwise.models.roles`).
        loss: of (model, batch) -> (scalar loss with gradient, detached scalars to log by name); a loss of None skips
            the batch, as Lightning has it.
        preset: a name among `PRESETS`, or an instance of their classes.

    Raises:
        InputError: from `Trainer.fit`: a Trainer that clips gradients itself, or trains in fp16, whose scaled gradients
            clipping by role would misjudge.

    Attributes:
        logs: what `loss` returned with the latest batch.
        guard: loss and gradient norms of the latest update; it stops training when one is not finite.
    """

    def __init__(self, model: nn.Module, loss: LossFunction, preset: Preset | str = "uniform") -> None:
        super().__init__()
        self.model, self.loss = model, loss
        self.preset = preset_of(preset)
        self.clip = self.preset.clip()
        self.guard = FiniteGuard()
        self.logs: dict[str, Tensor] = {}
        self._latest: Tensor | None = None

    def __setattr__(self, name: str, value: Any) -> None:
        # Lightning notes the running hook here about forty times a step, and torch's own version takes its time to find
        # out that a word is neither parameter, module nor buffer.
        if name in _PLAIN:
            self.__dict__[name] = value
        else:
            super().__setattr__(name, value)

    def training_step(self, batch: Any) -> Tensor | None:
        loss, self.logs = self.loss(self.model, batch)
        self._latest = loss
        return loss

    def configure_optimizers(self) -> Optimizer:
        return optimizer_for(self.model, self.preset)

    def on_fit_start(self) -> None:
        if self.trainer.gradient_clip_val is not None:
            raise InputError(
                f"Trainer(gradient_clip_val={self.trainer.gradient_clip_val}): gradients are clipped by role; leave it "
                "out and set the norms in the preset"
            )
        if self.trainer.precision in ("16-mixed", "16-true"):
            raise InputError(
                f"Trainer(precision={self.trainer.precision}): gradients are scaled where they are clipped by role; "
                "choose bf16-mixed or 32-true"
            )
        for optimizer in self.trainer.optimizers:
            check_optimizer(optimizer, self.model)
        self.guard.every = 1 if self.device.type == "cpu" else 16

    def on_train_end(self) -> None:
        self.guard.look()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.guard.look()  # no checkpoint of weights that are no longer finite

    def configure_gradient_clipping(
        self,
        optimizer: Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip by role, as the preset says (the Trainer's own clipping refuses a fused optimiser)."""
        if self._latest is None:  # the batch is skipped
            return
        norms = clip_by_role(optimizer, self.clip)
        self.guard.watch(self.global_step + 1, self._latest, norms)
        self._latest = None  # else the graph of a step would live until the next one's loss
