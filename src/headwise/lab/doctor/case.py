"""A case: any model whose modules declare roles, some batches, a loss, and what a few passes show of them.

Everything is done on copies, with the same random numbers each time: the model, its gradients and its optimiser are
left as they are.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from headwise.errors import InputError
from headwise.lab.ladder.gradients import gradient_norms
from headwise.models.roles import parameters_by_role

Loss = Callable[[nn.Module, Any], Any]
"""A function of (model, batch), whose value is a scalar with gradient; or that and a mapping of what to log, as
`HeadwiseModule` has it; or a mapping of named terms that add up to the loss, the task's first."""

Metric = Callable[[nn.Module, Any], Any]
"""A function of (model, batch), whose value is a number, or one for each example."""

AWAY = 0.1  # of a parameter's own size, by which the copy that gradients are taken of is moved off its start


@dataclass(frozen=True)
class Case:
    """What is examined.

    Attributes:
        model: any module; roles as in `headwise.models.roles`.
        loss: of the model and a batch.
        batches: of training.
        steps: of these, the first so many that passes are made of.
        optimizer: that is to train it, or None.
        metric: a number to judge the model by, or None.
        higher_is_better: direction of the metric.
        validation: batches that training must not have seen.
        frozen: names of parameters that are meant to stay as they are.
        as_trained: whether the modes of its modules are those in which it is trained.
    """

    model: nn.Module
    loss: Loss
    batches: Sequence[Any]
    steps: int = 4
    optimizer: torch.optim.Optimizer | None = None
    metric: Metric | None = None
    higher_is_better: bool = True
    validation: Sequence[Any] = ()
    frozen: frozenset[str] = field(default_factory=frozenset)
    as_trained: bool = True

    @property
    def passed(self) -> Sequence[Any]:
        """The batches that passes are made of."""
        return self.batches[: self.steps]

    @cached_property
    def roles(self) -> dict[str, str]:
        """Parameter -> role; empty where a parameter has none."""
        try:
            return {name: role for role, own in parameters_by_role(self.model).items() for name, _ in own}
        except ValueError:
            return {name: "" for name, _ in self.model.named_parameters()}

    @property
    def trainable(self) -> list[str]:
        """Names of the parameters that are to learn."""
        return [name for name, p in self.model.named_parameters() if p.requires_grad and name not in self.frozen]

    @cached_property
    def first(self) -> Pass:
        """A forward and backward pass of the first batch as the model is."""
        return one_pass(self.twin(), self.loss, self.batches[0])

    @cached_property
    def gradients(self) -> dict[str, float]:
        """The largest gradient norm of each parameter over the batches.

        Taken where every parameter is a little off: what starts at zero, as a router does, hides what is behind it.
        """
        twin = self.twin()
        with repeatable(), torch.no_grad():
            for parameter in twin.parameters():
                size = parameter.norm() / math.sqrt(max(parameter.numel(), 1))
                parameter.add_(AWAY * size.clamp_min(AWAY) * torch.randn_like(parameter))
        with repeatable():
            return gradient_norms(twin, ([total(self.loss(twin, batch))] for batch in self.passed))

    @cached_property
    def unmoved(self) -> list[str]:
        """Parameters that a step of the optimiser, which holds them, leaves where they are, though with a gradient."""
        assert self.optimizer is not None
        twin, optimizer = deepcopy((self.model, self.optimizer))
        before = {name: parameter.detach().clone() for name, parameter in twin.named_parameters()}
        optimizer.zero_grad()
        with repeatable():
            torch.autograd.backward(total(self.loss(twin, self.batches[0])))
        reached = {name for name, p in twin.named_parameters() if p.grad is not None and p.grad.any()}
        optimizer.step()
        still = {name for name, parameter in twin.named_parameters() if torch.equal(parameter, before[name])}
        held = {id(parameter) for group in optimizer.param_groups for parameter in group["params"] if group["lr"]}
        still &= {name for name, parameter in twin.named_parameters() if id(parameter) in held}
        return [name for name in self.trainable if name in still & reached]

    @torch.no_grad()
    def repeated(self) -> tuple[float, float, float]:
        """The loss of the first batch, the same again, and once more after another batch; in evaluation mode."""
        twin = self.twin().eval()
        values = []
        for batch in (self.batches[0], self.batches[0], self.passed[-1], self.batches[0]):
            with repeatable():
                values.append(total(self.loss(twin, batch)).item())
        return values[0], values[1], values[3]

    def second_pass(self) -> str | None:
        """What a second forward and backward pass fails with where the first one went well; None if nothing."""
        twin = self.twin()
        for number, batch in enumerate((self.batches[0], self.passed[-1])):
            try:
                with repeatable():
                    torch.autograd.backward(total(self.loss(twin, batch)))
            except RuntimeError as error:
                if number == 0:
                    raise
                return " ".join(str(error).split())[:120]
        return None

    def twin(self) -> nn.Module:
        """A copy of the model, in the modes in which it is trained.

        Raises:
            InputError: it cannot be copied.
        """
        try:
            copied = deepcopy(self.model)
        except RuntimeError as error:
            reason = str(error).partition(".")[0]
            raise InputError(
                f"the model cannot be copied ({reason}); does a module keep a tensor of a batch?"
            ) from None
        copied.zero_grad(set_to_none=True)
        return copied if self.as_trained else copied.train()


@dataclass(frozen=True)
class Pass:
    """What a forward and backward pass showed.

    Attributes:
        loss: its value.
        has_gradient: whether it depends on anything that has one.
        terms: named terms of the loss: value, and whether it has a gradient; empty where the loss names none.
        not_finite: the first module whose output is not finite, or None.
        norms: module that is applied several times -> the norm of its output, and of the gradient there, at each time.
        evaluating: modules that were in training mode before and are not after it.
    """

    loss: float
    has_gradient: bool
    terms: dict[str, tuple[float, bool]]
    not_finite: str | None
    norms: dict[str, list[tuple[float, float]]]
    evaluating: list[str]


def one_pass(model: nn.Module, loss: Loss, batch: Any) -> Pass:
    """Run `loss` forward and backward, and watch the modules."""
    outputs: dict[str, list[Tensor]] = {}
    training = [name for name, module in model.named_modules() if module.training]
    bad: list[str] = []

    def watch(name: str) -> Callable[..., None]:
        def hook(_: nn.Module, inputs: Any, output: Any) -> None:
            tensor = hidden_of(output)
            if tensor is not None and not tensor.isfinite().all():
                bad.append(name or type(model).__name__)
            if tensor is not None and tensor.requires_grad:
                tensor.retain_grad()
                outputs.setdefault(name, []).append(tensor)

        return hook

    hooks = [module.register_forward_hook(watch(name)) for name, module in model.named_modules()]
    try:
        with repeatable():
            found = loss(model, batch)
            value = total(found)
            if value.requires_grad:
                torch.autograd.backward(value)
    finally:
        for handle in hooks:
            handle.remove()
    terms = {name: (torch.as_tensor(term).item(), _has_gradient(term)) for name, term in named_terms(found).items()}
    norms = {name: [_norms(one) for one in several] for name, several in outputs.items() if len(several) > 1}
    after = {name for name, module in model.named_modules() if not module.training}
    evaluating = [name for name in training if name in after]
    return Pass(value.item(), value.requires_grad, terms, bad[0] if bad else None, norms, evaluating)


def total(found: Any) -> Tensor:
    """The scalar that a loss function's result stands for.

    Raises:
        InputError: it stands for none.
    """
    terms = named_terms(found)
    if terms:
        found = sum(terms.values())
    elif isinstance(found, tuple) and found:
        found = found[0]
    if not isinstance(found, Tensor) or found.numel() != 1:
        what = f"a tensor of shape {tuple(found.shape)}" if isinstance(found, Tensor) else f"a {type(found).__name__}"
        raise InputError(
            f"the loss is {what}; expected a scalar tensor, (scalar, logs), or a mapping of scalar tensors"
        )
    return found


def named_terms(found: Any) -> dict[str, Any]:
    """The named terms in a loss function's result; none where it is a scalar."""
    return dict(found) if isinstance(found, Mapping) else {}


def hidden_of(output: Any) -> Tensor | None:
    """The tensor of floats that a module's output is, or that comes first in it."""
    if isinstance(output, tuple) and output:
        return hidden_of(output[0])
    output = getattr(output, "weight", getattr(output, "hidden", output))  # gates, and what a stack of blocks gives
    return output if isinstance(output, Tensor) and output.is_floating_point() else None


@contextmanager
def repeatable(seed: int = 0) -> Iterator[None]:
    """Inside the block torch's random numbers follow from the seed; afterwards they are as they were."""
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.manual_seed(seed)
        yield


def rows_of(batch: Any) -> list[Any]:
    """The examples of a batch of tensors with the same first dimension; none where it is something else."""
    parts = tensors_of(batch)
    if not parts or len({part.shape[:1] for part in parts}) > 1 or not parts[0].ndim:
        return []
    return [
        b"".join(part[row].contiguous().flatten().view(torch.uint8).numpy().tobytes() for part in parts)
        for row in range(len(parts[0]))
    ]


def tensors_of(batch: Any) -> list[Tensor]:
    """All tensors in a batch, in their order."""
    if isinstance(batch, Tensor):
        return [batch.detach().cpu()]
    inner = batch.values() if isinstance(batch, Mapping) else batch if isinstance(batch, (list, tuple)) else ()
    return [tensor for part in inner for tensor in tensors_of(part)]


def _has_gradient(term: Any) -> bool:
    return isinstance(term, Tensor) and term.requires_grad


def _norms(output: Tensor) -> tuple[float, float]:
    gradient = 0.0 if output.grad is None else output.grad.double().norm().item()
    return output.detach().double().norm().item(), gradient
