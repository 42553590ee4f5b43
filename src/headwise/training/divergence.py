"""Divergence: a loss or gradient that is no longer finite ends a run, before it spoils the weights.

The guard knows what gradient norms were usual, so that it can say where a blow-up began.
"""

import math
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor

WINDOW = 50  # updates over which a gradient norm counts as usual


class TrainingDiverged(RuntimeError):  # noqa: N818 - a name for what happened reads better than ...Error here
    """A loss or gradient is no longer finite; on the CPU training stopped before the optimiser could use it.

    Attributes:
        update: the number of the first such update, from 1.
        role: whose gradients blew up.
        checkpoint: the last good one, where there is one.
    """

    def __init__(self, update: int, loss: float, role: str, detail: str, checkpoint: Path | None = None) -> None:
        self.update, self.loss, self.role, self.detail, self.checkpoint = update, loss, role, detail, checkpoint
        kept = f"; last good checkpoint: {checkpoint}" if checkpoint else ""
        super().__init__(f"update {update}: loss {loss:g}, gradients blew up in {role} ({detail}){kept}")

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.update, self.loss, self.role, self.detail, self.checkpoint)

    def keeping(self, checkpoint: Path | None) -> "TrainingDiverged":
        """The same, naming the checkpoint that is left."""
        return TrainingDiverged(self.update, self.loss, self.role, self.detail, checkpoint)


class FiniteGuard:
    """Watches loss and gradient norms, and knows what was usual, so that it can say where a blow-up began.

    Args:
        every: updates between looks. Reading a number waits for an accelerator, so there one looks at several updates
            at once (and stops up to `every` - 1 updates late, naming the first bad one); on the CPU at each.
    """

    def __init__(self, every: int = 1) -> None:
        self.every = every
        self.loss = math.nan
        self.norms: dict[str, float] = {}
        self._waiting: list[tuple[int, tuple[str, ...], Tensor]] = []
        self._usual: dict[str, deque[float]] = {}

    def watch(self, update: int, loss: Tensor, norms: Mapping[str, Tensor]) -> None:
        """Note the loss and the gradient norms by role of one update, before its optimiser step.

        Raises:
            TrainingDiverged: a noted number is not finite.
        """
        values = torch.stack([loss.detach(), *norms.values()])
        self._waiting.append((update, tuple(norms), values))
        if len(self._waiting) >= self.every:
            self.look()

    def look(self) -> None:
        """Read what has been noted; `loss` and `norms` are then those of the latest update."""
        waiting, self._waiting = self._waiting, []
        for update, roles, values in waiting:
            self.loss, *norms = values.tolist()
            self.norms = dict(zip(roles, norms, strict=True))
            if not all(map(math.isfinite, (self.loss, *norms))):
                raise self._diverged(update)
            for role, norm in self.norms.items():
                self._usual.setdefault(role, deque(maxlen=WINDOW)).append(norm)

    def _diverged(self, update: int) -> TrainingDiverged:
        bad = [role for role, norm in self.norms.items() if not math.isfinite(norm)]
        # A loss that is not finite spoils every role's gradient at once: then the role whose norm had grown most in
        # the updates before is the one where it began.
        suspects = bad or list(self.norms)
        role = max(suspects, key=self._growth, default="no role")
        usual = self._usual.get(role)
        if not usual:
            return TrainingDiverged(update, self.loss, role, "from the first update on")
        return TrainingDiverged(
            update, self.loss, role, f"gradient norm {usual[-1]:.3g} the update before, usually {median(usual):.3g}"
        )

    def _growth(self, role: str) -> float:
        usual = self._usual.get(role)
        return usual[-1] / max(median(usual), 1e-30) if usual else 0.0
