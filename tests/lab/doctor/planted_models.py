"""Models of a user's own, each with one defect planted: what `headwise.examine` is given, and the rule."""

from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from headwise.routing.gates import Gates
from headwise.routing.mixtures import TopP
from headwise.routing.routers import LearnedRouter
from headwise.training.optim import optimizer_for
from tests.training.recipes import OwnModel, own_batches, squared_error

Arguments = dict[str, Any]
PLANTED: dict[str, tuple[str, Callable[[], Arguments]]] = {}
"""What was planted -> the rule that must name it, and what makes the arguments of `headwise.examine`."""


def planted(rule: str) -> Callable[[Callable[[], Arguments]], Callable[[], Arguments]]:
    """The decorated function plants a defect that this rule must name."""

    def registered(make: Callable[[], Arguments]) -> Callable[[], Arguments]:
        PLANTED[make.__name__] = (rule, make)
        return make

    return registered


def sound(model: nn.Module | None = None, **changes: Any) -> Arguments:
    """A sound model with its own optimiser, or `model`, and arguments that are changed."""
    model = model or OwnModel()
    optimizer = optimizer_for(model) if changes.get("optimizer") is None else changes["optimizer"]
    validation = [{"x": torch.randn(8, 3), "y": torch.randn(8)}]
    return {"model": model, "loss": squared_error, "batches": own_batches(4), "validation": validation} | {
        **changes,
        "optimizer": optimizer,
    }


def changed(forward: Callable[[Any, Tensor], Tensor]) -> OwnModel:
    """The sound model with another forward pass."""
    return type("Changed", (OwnModel,), {"forward": forward})()  # type: ignore[no-any-return]


@planted("optimiser of another model")
def one_optimiser_for_two_models() -> Arguments:
    return sound(optimizer=optimizer_for(OwnModel()))


@planted("optimiser of another model")
def a_part_replaced_after_the_optimiser_was_made() -> Arguments:
    model = OwnModel()
    optimizer = optimizer_for(model)
    model.experts = nn.Linear(3, 4)
    return sound(model, optimizer=optimizer)


@planted("parameter group without a learning rate")
def a_warm_up_that_starts_at_zero_and_is_never_stepped() -> Arguments:
    model = OwnModel()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: step / 100)
    torch.autograd.backward(squared_error(model, own_batches(1)[0])[0])
    optimizer.step()
    return sound(model, optimizer=optimizer)


@planted("rates by role far apart")
def a_controller_a_thousand_times_as_fast() -> Arguments:
    model = OwnModel()
    rest = [*model.experts.parameters(), *model.readout.parameters()]
    groups = [{"params": rest}, {"params": list(model.gate.parameters()), "lr": 1.0}]
    return sound(model, optimizer=torch.optim.AdamW(groups, lr=1e-3))


@planted("frozen parameters")
def a_read_out_that_needs_no_gradient() -> Arguments:
    model = OwnModel()
    model.readout.requires_grad_(False)
    return sound(model)


@planted("evaluation mode in training")
def a_model_left_in_evaluation_mode() -> Arguments:
    return sound(OwnModel().eval())


@planted("evaluation mode in training")
def a_loss_that_leaves_the_model_in_evaluation_mode() -> Arguments:
    def loss(model: nn.Module, batch: Any) -> Any:
        model.eval()
        return squared_error(model, batch)

    return sound(loss=loss)


@planted("loss of a batch is not finite")
def a_logarithm_of_zero() -> Arguments:
    class Logarithm(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.log(torch.relu(x))

    def forward(self: Any, x: Tensor) -> Tensor:
        return self.readout(self.logarithm(self.experts(x)) * self.gate(x)).squeeze(-1)  # type: ignore[no-any-return]

    model = changed(forward)
    model.logarithm = Logarithm()
    return sound(model)


@planted("no gradient")
def a_detached_hidden_state() -> Arguments:
    def forward(self: Any, x: Tensor) -> Tensor:
        return self.readout(torch.tanh(self.experts(x)).detach() * self.gate(x)).squeeze(-1)  # type: ignore[no-any-return]

    return sound(changed(forward))


@planted("no gradient")
def a_loss_of_another_model_than_the_one_given() -> Arguments:
    other = OwnModel()
    return sound(loss=lambda model, batch: squared_error(other, batch))


@planted("update does not arrive")
def an_optimiser_step_after_the_gradients_are_gone() -> Arguments:
    class Forgetful(torch.optim.SGD):
        def step(self, closure: Any = None) -> Any:
            self.zero_grad()
            return super().step(closure)

    model = OwnModel()
    return sound(model, optimizer=Forgetful(model.parameters(), lr=0.1))


class IgnoresGates(torch.autograd.Function):
    """Forward gated, backward not."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, gates: Tensor) -> Tensor:
        return x * gates

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient, None


@planted("gates do not reach the output")
def a_backward_pass_that_ignores_the_gates() -> Arguments:
    def forward(self: Any, x: Tensor) -> Tensor:
        mixed = IgnoresGates.apply(torch.tanh(self.experts(x)), self.gate(x))  # type: ignore[no-untyped-call]
        return self.readout(mixed).squeeze(-1)  # type: ignore[no-any-return]

    return sound(changed(forward))


@planted("gates do not reach the output")
def gates_that_nothing_uses() -> Arguments:
    def forward(self: Any, x: Tensor) -> Tensor:
        self.gate(x)
        return self.readout(torch.tanh(self.experts(x))).squeeze(-1)  # type: ignore[no-any-return]

    return sound(changed(forward))


class Inverted(TopP):
    """The published soft form: suppresses the best heads and opens the worst."""

    def __call__(self, logits: Tensor, *rest: Any) -> Gates:
        return super().__call__(-logits, *rest)


class Routed(nn.Module):
    """Weighs four experts by a router of headwise's."""

    role: ClassVar[str] = "backbone"

    def __init__(self, gate: TopP) -> None:
        super().__init__()
        self.experts, self.readout = nn.Linear(3, 4), nn.Linear(4, 1)
        self.router = LearnedRouter().build(gate, 3, 4)

    def forward(self, x: Tensor) -> Tensor:
        gates, _ = self.router(x[:, None])
        return self.readout(torch.tanh(self.experts(x)) * gates.weight[:, 0]).squeeze(-1)  # type: ignore[no-any-return]


@planted("inverted gates")
def a_gate_function_with_the_wrong_sign() -> Arguments:
    return sound(Routed(Inverted()))


def with_entropy(change: Callable[[Tensor], Any]) -> Callable[[nn.Module, Any], Any]:
    """The loss in its terms, that of the gates' entropy changed."""

    def loss(model: Any, batch: Any) -> Any:
        gates = model.gate(batch["x"])
        return {"task": squared_error(model, batch)[0], "entropy": change((gates * gates.log()).sum(-1).mean())}

    return loss


@planted("detached loss term")
def a_loss_term_turned_into_a_float() -> Arguments:
    return sound(loss=with_entropy(lambda entropy: 0.01 * entropy.item()))


@planted("side loss dominates")
def an_entropy_a_thousand_times_too_strong() -> Arguments:
    return sound(loss=with_entropy(lambda entropy: 1000 * entropy))


class Loop(nn.Module):
    """Applies one block eight times, without norm or residual."""

    role: ClassVar[str] = "backbone"

    def __init__(self, size: float) -> None:
        super().__init__()
        self.embed, self.block, self.readout = nn.Linear(3, 8), nn.Linear(8, 8, bias=False), nn.Linear(8, 1)
        with torch.no_grad():
            self.block.weight.copy_(size * torch.eye(8))

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x)
        for _ in range(8):
            x = self.block(x)
        return self.readout(x).squeeze(-1)  # type: ignore[no-any-return]


@planted("norms explode or vanish over steps")
def a_loop_that_explodes() -> Arguments:
    return sound(Loop(3.0))


@planted("norms explode or vanish over steps")
def a_loop_that_vanishes() -> Arguments:
    return sound(Loop(0.3))


@planted("state kept between batches")
def a_running_mean_that_the_output_reads() -> Arguments:
    def forward(self: Any, x: Tensor) -> Tensor:
        self.mean = getattr(self, "mean", 0.0) + 0.1 * x.mean().item()
        return OwnModel.forward(self, x) + self.mean

    return sound(changed(forward))


@planted("state kept between batches")
def a_hidden_state_with_its_graph() -> Arguments:
    def forward(self: Any, x: Tensor) -> Tensor:
        self.hidden = torch.tanh(self.experts(x)) + getattr(self, "hidden", 0.0)
        return self.readout(self.hidden * self.gate(x)).squeeze(-1)  # type: ignore[no-any-return]

    return sound(changed(forward))


@planted("validation batches seen in training")
def validation_batches_among_those_of_training() -> Arguments:
    return sound(validation=own_batches(4)[2:])


@planted("metric ranks models backwards")
def an_error_taken_for_a_score() -> Arguments:
    class Perfect(nn.Linear):
        role: ClassVar[str] = "readout"

        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x).squeeze(-1)

    model = Perfect(3, 1)
    with torch.no_grad():
        model.weight.fill_(1.01)
        model.bias.fill_(0.01)
    error = lambda model, batch: (model(batch["x"]) - batch["y"]).square()  # noqa: E731
    return sound(model, metric=error, validation=own_batches(5)[4:])
