"""Controllers against their equations and the mistakes of the original."""

import pytest
import torch

from headwise.reasoning.controllers import (
    HRM,
    Classical,
    ClassicalConfig,
    HRMAct,
    HRMActConfig,
    HRMConfig,
)
from headwise.routing.gates import Soft
from headwise.routing.routers import Learned, LearnedRouter


def count(*modules: torch.nn.Module) -> int:
    return sum(p.numel() for module in modules for p in module.parameters())


def test_hrm_has_the_published_number_of_parameters() -> None:
    """D = C = 128, 8 heads, sequence granularity: 266,376; additive 281,737, of which one was the temperature."""
    config = HRMConfig(width=128)
    router = Learned(LearnedRouter("sequence"), Soft(), 128, 8, context=256)
    assert count(HRM(config, 128), router) == 266_376
    router = Learned(LearnedRouter("sequence"), Soft(), 128, 8, context=128)
    assert count(HRM(HRMConfig(width=128, additive=True), 128), router) == 281_737 - 1


def run(controller: HRM, inputs: list[torch.Tensor], mask: torch.Tensor | None = None) -> list[torch.Tensor]:
    state, contexts = None, []
    for hidden in inputs:
        context, state, _ = controller(hidden, mask, state)
        contexts.append(context)
    return contexts


def plain_hrm(hrm: HRM, inputs: list[torch.Tensor], mask: torch.Tensor) -> list[torch.Tensor]:
    """The contexts of `HRM` and `HRMAct` as in their equations, with pooling written out position by position."""
    batch, length, _ = inputs[0].shape
    ends = range(1, length + 1) if hrm.per_position else [length]
    slow = fast = torch.zeros(batch, len(ends), hrm.size, dtype=inputs[0].dtype)
    updates, a, contexts = torch.zeros_like(slow[..., :1]), torch.ones_like(slow[..., :1]), []
    for t, hidden in enumerate(inputs, start=1):
        real = [[hidden[b, :end][mask[b, :end]] for end in ends] for b in range(batch)]
        first = hrm.pool == "first"
        pool = torch.stack([torch.stack([row[0] if first else row.mean(0) for row in rows]) for rows in real])
        u = hrm.of_input(torch.nn.functional.dropout(pool, hrm.dropout, hrm.training))
        new = torch.stack([hrm.slow_norm(hrm.slow_cell(u[:, i], slow[:, i])) for i in range(len(ends))], 1)
        if isinstance(hrm, HRMAct):
            p = hrm.fire(slow).sigmoid() * (updates < hrm.max_updates)
            fire = (a + p >= 1 - hrm.eps) & (updates < hrm.max_updates)
            hard, soft = torch.where(fire, new, slow), p * new + (1 - p) * slow
            slow, a, updates = soft + (hard - soft).detach(), torch.where(fire, 0, a + p), updates + fire
        elif (t - 1) % hrm.slow_period == 0:
            slow = new
        z = torch.cat([u, slow], -1)
        fast = torch.stack([hrm.fast_norm(hrm.fast_cell(z[:, i], fast[:, i])) for i in range(len(ends))], 1)
        contexts.append(torch.cat([fast, slow], -1) if hrm.of_slow is None else fast + hrm.of_slow(slow))
    return contexts


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize(
    "config",
    [
        HRMConfig(period=3),
        HRMConfig(period=2, pool="first"),
        HRMConfig(period=3, additive=True),
        HRMConfig(period=3, dropout=0.3),
        HRMActConfig(),
        HRMActConfig(pool="first", additive=True, max_updates=2),
    ],
    ids=str,
)
def test_hrm_follows_its_equations_in_outputs_and_gradients(
    config: HRMConfig | HRMActConfig, causal: bool, padded: bool
) -> None:
    torch.manual_seed(0)
    hrm = config.build(12, 2, causal).double().train()
    inputs = [torch.randn(3, 5, 12, dtype=torch.float64, requires_grad=True) for _ in range(7)]
    mask = torch.ones(3, 5, dtype=torch.bool)
    if padded:
        mask[1, 2:] = False
    wanted = [*hrm.parameters(), *inputs]
    results = []
    for contexts_of, given in ((run, mask if padded else None), (plain_hrm, mask)):
        torch.manual_seed(1)  # of the dropout
        contexts = torch.stack(contexts_of(hrm, inputs, given))
        results.append((contexts, torch.autograd.grad(contexts.sin().sum(), wanted)))
    torch.testing.assert_close(*results)


@pytest.mark.parametrize(("period", "expected"), [(1, 8), (3, 3), (4, 2), (7, 2), (8, 1)])
def test_the_slow_module_runs_once_a_period(period: int, expected: int) -> None:
    hrm, state = HRM(HRMConfig(period=period), 8), None
    for _ in range(8):
        _, state, _ = hrm(torch.randn(2, 3, 8), None, state)
    assert state.updates.unique().tolist() == [expected]


def test_the_context_remembers_earlier_steps() -> None:
    """The original passed the state in the wrong place: memoryless, and the period without effect."""
    torch.manual_seed(0)
    hrm = HRM(HRMConfig(period=2), 8)
    first, other, last = (torch.randn(2, 3, 8) for _ in range(3))
    assert not torch.allclose(run(hrm, [first, last])[-1], run(hrm, [other, last])[-1])


def test_causal_context_is_the_mean_of_the_prefix_with_a_state_per_position() -> None:
    torch.manual_seed(0)
    causal, plain = HRM(HRMConfig(period=2), 8, causal=True), HRM(HRMConfig(period=2), 8)
    plain.load_state_dict(causal.state_dict())
    inputs = [torch.randn(2, 5, 8) for _ in range(3)]
    per_position = run(causal, inputs)[-1]
    assert per_position.shape[1] == 5
    for i in range(5):
        alone = run(plain, [hidden[:, : i + 1] for hidden in inputs])[-1]
        torch.testing.assert_close(per_position[:, i], alone[:, 0])


def test_act_fires_when_the_accumulated_probability_reaches_one() -> None:
    act = HRMAct(HRMActConfig(), 8).double()
    with torch.no_grad():
        act.fire.weight.zero_()
        act.fire.bias.fill_(torch.tensor(0.4).logit())
    state, updates = None, []
    for _ in range(8):
        _, state, losses = act(torch.randn(2, 3, 8, dtype=torch.float64), None, state)
        updates.append(int(state.updates[0, 0, 0]))
        assert losses["slow_updates"].item() == pytest.approx(0.4)
    assert updates == [1, 1, 1, 2, 2, 2, 3, 3]  # fires at once, then after 0.4 + 0.4 + 0.4 >= 0.99


def test_act_never_updates_more_often_than_allowed() -> None:
    act, state = HRMAct(HRMActConfig(max_updates=2), 8), None
    with torch.no_grad():
        act.fire.bias.fill_(5)
    for _ in range(6):
        _, state, losses = act(torch.randn(2, 3, 8), None, state)
    assert state.updates.max() == 2
    assert losses["slow_updates"].item() == 0


def test_the_cost_of_slow_updates_teaches_the_halting_head() -> None:
    """In the original the cost was detached and the head never learned."""
    act, state, cost = HRMAct(HRMActConfig(), 8), None, 0
    for _ in range(5):
        _, state, losses = act(torch.randn(2, 3, 8), None, state)
        cost = cost + losses["slow_updates"]
    cost.backward()
    assert act.fire.weight.grad.norm() > 0
    assert act.fire.bias.grad > 0


def test_in_a_causal_model_the_cost_of_slow_updates_leaves_padding_out() -> None:
    torch.manual_seed(0)
    controller = HRMAct(HRMActConfig(), 8, causal=True)
    torch.nn.init.normal_(controller.fire.weight)
    x, mask = torch.randn(2, 9, 8), torch.arange(9).expand(2, 9) < 4

    def cost(hidden: torch.Tensor, mask: torch.Tensor | None) -> float:
        total, state = 0.0, None
        for _ in range(4):
            _, state, losses = controller(hidden, mask, state)
            total += losses["slow_updates"].item()
        return total

    assert cost(x, mask) == pytest.approx(cost(x[:, :4], None))
    assert cost(x, None) != pytest.approx(cost(x, mask))


def test_classical_sees_the_previous_head_outputs_from_the_second_step_on() -> None:
    torch.manual_seed(0)
    classical = Classical(ClassicalConfig(), 8, heads=2)
    hidden, heads = torch.randn(2, 3, 8), torch.randn(2, 3, 2, 4)
    first, _, _ = classical(hidden, None, None)
    second, _, _ = classical(hidden, None, None, heads)
    assert classical.context_width == 2 * 32
    torch.testing.assert_close(first[..., :32], second[..., :32])
    assert (first[..., 32:] == 0).all()
    assert (second[..., 32:] != 0).any()


def test_no_controller_is_none() -> None:
    from headwise.reasoning.controllers import NoController

    assert NoController().build(8, 2) is None


@pytest.mark.parametrize(
    ("config", "values"),
    [
        (HRMConfig, {"period": 0}),
        (HRMConfig, {"width": 2}),
        (HRMConfig, {"dropout": 1.0}),
        (HRMActConfig, {"eps": 0.0}),
        (HRMActConfig, {"max_updates": 0}),
        (ClassicalConfig, {"width": 0}),
    ],
)
def test_values_out_of_range_are_refused_with_the_key(config: type, values: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(values))}=.*choose"):
        config(**values)
