"""Laws 1, 2, 3, 5, 6 and 9 where a layout says who may look at whom: structural heads and the bias by position."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from headwise.errors import InputError
from headwise.laws.arms import RELATED
from headwise.laws.reach import unreached
from headwise.models.arm import Arm, check
from headwise.models.backbone import Backbone
from headwise.models.flops import flops_per_example
from headwise.models.roles import parameters_by_role
from headwise.models.sizes import ModelConfig
from headwise.reasoning.draws import keys_of
from headwise.reasoning.halting import EntropyHalting, FixedHalting, PonderHalting
from headwise.reasoning.refinement import RefinementConfig
from headwise.routing.attention import RoutedAttention
from headwise.routing.fixed_routers import OracleRouter
from headwise.routing.layout import Layout, Mask, RelativeBias, gates_of_route, heads_along, mask_of
from headwise.routing.reference import plain_attention
from headwise.routing.scaled_dot_product import attend_with_bias

from .arms import ARMS, HRM, SHAPE, TOKEN, TaskFacts, grid, perturbed
from .test_skipping import SELECTIONS, B, H, L, layer, same, selection

# Heads 0 and 1 see along one relation each, 2 and 3 everything
BOTH = replace(SHAPE, structural_heads=2, relative=1)
CELLS = 6
LOOPED = replace(ARMS["looped"], refinement=replace(ARMS["looped"].refinement, supervision="uniform"))


def relations(count: int, length: int = CELLS) -> dict[str, Tensor]:
    """Whatever a task may say: not symmetric, one of them without the token itself, leading some tokens nowhere."""
    drawn = torch.rand(2, count, length, length, generator=torch.Generator().manual_seed(0)) < 0.3
    return {"first": drawn[0] | torch.eye(length, dtype=torch.bool), "second": drawn[1]}


def layout(count: int, padding: Tensor | None = None) -> Layout:
    generator = torch.Generator().manual_seed(1)
    route = torch.randint(-1, 2, (count, 3), generator=generator)
    inputs = torch.randn(2, count, 1, SHAPE.width, dtype=torch.float64, generator=generator)
    return Layout(padding, relations(count), grid(2, 3), route, inputs, keys_of(torch.arange(count)))


def rows(whole: Layout, index: list[int], length: int = CELLS) -> Layout:
    """Some examples alone, without what lies behind `length`."""
    seen = {name: part[index, :length, :length] for name, part in whole.relations.items()}
    keys = None if whole.keys is None else whole.keys[index]
    return Layout(None, seen, whole.positions[:length], whole.route[index], whole.inputs[:, index], keys)


def batch(count: int = 5, length: int = CELLS) -> Tensor:
    return torch.randn(count, length, SHAPE.width, dtype=torch.float64, generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize("name", ARMS)
def test_relations_between_all_and_a_bias_of_zero_change_nothing(name: str) -> None:
    """Law 1: then every arm is what it is without a layout."""
    plain = perturbed(ARMS[name])
    padding = torch.arange(CELLS).expand(5, -1) < torch.tensor([6, 4, 6, 3, 6])[:, None]
    every = Layout(padding, {"all": torch.ones(1, CELLS, CELLS, dtype=torch.bool)}, grid(2, 3))
    for shape in (replace(SHAPE, structural_heads=2), replace(SHAPE, relative=2), BOTH):
        twin = perturbed(ARMS[name], shape=shape)
        twin.load_state_dict(plain.state_dict(), strict=False)
        if twin.relative is not None:
            torch.nn.init.zeros_(twin.relative.table)
        outputs = []
        for backbone, own in ((plain, padding), (twin, every)):
            torch.manual_seed(0)  # of Gumbel noise
            outputs.append(backbone(batch(), own).states[:, padding])
        torch.testing.assert_close(outputs[1], outputs[0])


@pytest.mark.parametrize("name", ARMS)
@pytest.mark.parametrize("ffn", [SHAPE.ffn, 0])
def test_with_a_layout_every_parameter_gets_a_gradient_and_moves(name: str, ffn: int) -> None:
    """Laws 2 and 3, the table of the bias included; without a feed-forward layer, too."""
    backbone = perturbed(ARMS[name], shape=replace(BOTH, ffn=ffn))
    before = {n: p.detach().clone() for n, p in backbone.named_parameters()}
    assert "relative.table" in before
    optimiser = torch.optim.AdamW(backbone.parameters(), lr=1e-3, weight_decay=0, fused=True)
    assert unreached(backbone, layout(3)) == []
    optimiser.step()
    assert [n for n, p in backbone.named_parameters() if torch.equal(p, before[n])] == []


def test_every_entry_of_the_bias_gets_a_gradient_where_the_radius_is_within_the_grid() -> None:
    """The reason for the advice on `relative`: entries of offsets that do not occur would never train."""
    for radius, side in ((1, 3), (2, 3), (3, 3)):
        backbone = perturbed(ARMS["baseline"], shape=replace(SHAPE, relative=radius))
        x = batch(3, side * side)
        backbone(x, Layout(positions=grid(side, side))).states.sin().sum().backward()
        trained = (backbone.relative.table.grad != 0).flatten(1).all(0)
        assert trained.all() == (radius < side)


@pytest.mark.parametrize(
    ("name", "training"),
    [(n, training) for n in ARMS for training in (False, True) if not (training and ARMS[n].gate.noisy)],
)
def test_with_a_layout_an_example_depends_neither_on_padding_nor_on_its_batch(name: str, training: bool) -> None:
    """Law 5; halted examples leave the batch with their part of the mask."""
    backbone = perturbed(ARMS[name], shape=BOTH).train(training)
    padding = torch.arange(CELLS).expand(5, -1) < torch.tensor([6, 6, 4, 6, 3])[:, None]
    whole = layout(5, padding)
    with torch.no_grad():
        together = backbone(batch(), whole)
        for i in range(5):
            length = int(padding[i].sum())
            alone = backbone(batch()[i : i + 1, :length], rows(whole, [i], length))
            torch.testing.assert_close(together.states[:, i, :length], alone.states[:, 0])
            torch.testing.assert_close(together.steps[i], alone.steps[0])


def test_planted_mask_that_stays_behind_when_examples_halt_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    backbone = perturbed(replace(TOKEN, halting=PonderHalting(bias=-0.3)), seed=3, shape=BOTH).eval()
    x, whole = batch(16), layout(16)
    with torch.no_grad():
        trace = backbone(x, whole)
        assert trace.steps.unique().numel() > 1, "examples must halt at different steps for this test to say anything"
        alone = torch.cat([backbone(x[[i]], rows(whole, [i])).states[0] for i in range(16)])
        torch.testing.assert_close(trace.states[0], alone)
        for planted in (
            lambda self, index: Mask(self.padding, self.attention[: len(index)], self.inputs[:, index]),
            lambda self, index: Mask(self.padding, self.attention[index], self.inputs[:, : len(index)]),
        ):
            monkeypatch.setattr(Mask, "rows", planted)
            assert not torch.allclose(backbone(x, whole).states[0], alone)


@pytest.mark.parametrize("name", ["baseline", "hrm_token", "reuse_keys_values", "mixture"])
@pytest.mark.parametrize("kv_heads", [None, 2])
def test_a_structural_head_is_dense_attention_with_minus_infinity_elsewhere(name: str, kv_heads: int | None) -> None:
    """Law 6: the whole loop, with every score written out; outputs and gradients."""
    arm = ARMS[name]
    backbone = perturbed(arm, shape=replace(BOTH, kv_heads=kv_heads))
    x, whole = batch(2), layout(2)
    scores = torch.zeros(2, SHAPE.heads, CELLS, CELLS, dtype=torch.float64)
    for head, name_of_relation in enumerate(("first", "second")):
        scores[:, head][~whole.relations[name_of_relation]] = -torch.inf
    table = backbone.relative.table
    for i, (row, column) in enumerate(whole.positions.tolist()):
        for j, (other_row, other_column) in enumerate(whole.positions.tolist()):
            near_by = [max(-1, min(1, d)) + 1 for d in (other_row - row, other_column - column)]
            scores = scores.clone()
            scores[:, :, i, j] = scores[:, :, i, j] + table[:, near_by[0], near_by[1]]
    hidden, state, sources = x, None, {}
    for t in range(arm.refinement.steps):
        context = None
        if backbone.refiner.controller is not None:
            context, state, _ = backbone.refiner.controller(hidden, None, state)
        hidden = hidden + x if t else hidden
        hidden = hidden + whole.inputs[t] if t < 2 else hidden
        for i, block in enumerate(backbone.refiner.stack.blocks):
            normed = block.attention_norm(hidden)
            ones = torch.ones(2, 1, SHAPE.heads, dtype=torch.float64)
            gates = ones if block.router is None else block.router(normed, context, None)[0].weight
            source = sources.setdefault(i, normed) if arm.refinement.reuse == "keys_values" else normed
            hidden = hidden + plain_attention(block.attention, normed, gates, scores, source)
            hidden = hidden + block.ffn(block.ffn_norm(hidden))
    same(backbone(x, whole).states[-1], backbone.norm(hidden), list(backbone.parameters()))


def attention_mask(kind: str) -> Tensor:
    """[B, H, L, L] of the sizes in `test_skipping`; the bias is learned."""
    positions = torch.stack([torch.arange(L) // 4, torch.arange(L) % 4], 1)
    padding = torch.arange(L).expand(B, L) < torch.tensor([L, 4, 9, 1])[:, None]
    bias = RelativeBias(H, 2).double()
    torch.nn.init.normal_(bias.table)
    whole = Layout(padding, relations(B, L), positions)
    added = bias(positions).detach() if kind == "both" else None
    made = mask_of(whole, H, ("first", "second", "second"), added, torch.zeros(1).double()).attention
    return made.requires_grad_() if kind == "both" else made


@pytest.mark.parametrize("kind", ["structural", "both"])
@pytest.mark.parametrize("kv_heads", [None, 2])
@pytest.mark.parametrize("chosen", SELECTIONS)
def test_skipped_heads_keep_their_own_mask(chosen: str, kv_heads: int | None, kind: str) -> None:
    """Law 6: each head that is left takes its part of the mask with it, and the bias its gradient."""
    attention, mask, on = layer(kv_heads, "mask_concat", False), attention_mask(kind), selection(chosen)
    x = torch.randn(B, L, attention.width, dtype=torch.float64, requires_grad=True)
    free = (torch.rand(on.shape, dtype=torch.float64) + 0.5).requires_grad_()
    inputs = [x, free, *attention.parameters(), *([mask] if mask.requires_grad else [])]
    same(attention(x, free * on, mask)[0], plain_attention(attention, x, free * on, mask), inputs)


def test_a_step_without_gradient_computes_what_a_step_with_one_does() -> None:
    attention, mask = layer(2, "mask_concat", False), attention_mask("both")
    x = torch.randn(B, L, attention.width, dtype=torch.float64)
    with torch.no_grad():
        quick = attention(x, None, mask)[0]
    torch.testing.assert_close(quick, attention(x, None, mask)[0])


def test_the_bias_agrees_with_finite_differences() -> None:
    q, k, v = (torch.randn(1, heads, 3, 2, dtype=torch.float64, requires_grad=True) for heads in (4, 2, 2))
    bias = torch.randn(1, 4, 3, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda *parts: attend_with_bias(*parts, 0.0), (q, k, v, bias))


def test_dropout_of_attention_weights_is_drawn_with_a_learned_bias_too() -> None:
    attention = RoutedAttention(16, 4, dropout=0.5)
    x, bias = torch.randn(1, 5, 16), torch.zeros(1, 4, 5, 5, requires_grad=True)
    assert not torch.equal(attention(x, None, bias)[0], attention(x, None, bias)[0])
    attention.eval()
    torch.testing.assert_close(attention(x, None, bias)[0], attention(x)[0])


def test_what_is_out_of_sight_of_structural_heads_changes_nothing() -> None:
    """All heads structural, a ring: after t steps a change has come t places far."""
    shape = replace(SHAPE, depth=1, structural_heads=4)
    looped = replace(ARMS["looped"], refinement=replace(ARMS["looped"].refinement, steps=2))
    near = torch.eye(CELLS, dtype=torch.bool).roll(1, 1)[None]  # each looks at the next one
    backbone = perturbed(looped, shape=shape).eval()
    x = batch(1)
    with torch.no_grad():
        before = backbone(x, Layout(relations={"next": near})).states[0, 0]
        x[0, 4] += torch.randn(SHAPE.width).double()
        after = backbone(x, Layout(relations={"next": near})).states[0, 0]
    changed = ~torch.isclose(before, after).all(1)
    assert changed.tolist() == [False, False, True, True, True, False]


def test_a_bias_tells_a_larger_grid_what_it_learned_on_a_smaller_one() -> None:
    bias = RelativeBias(2, 2)
    torch.nn.init.normal_(bias.table)
    small, large = bias(grid(3, 3)), bias(grid(5, 5))
    inner = [row * 5 + column for row in (1, 2, 3) for column in (1, 2, 3)]
    assert torch.equal(large[:, :, inner][..., inner], small)
    assert large[0, 0, 0, 4] == bias.table[0, 2, 4], "four columns away counts as two"


def test_the_bias_is_a_parameter_of_the_backbone_and_costs_no_product() -> None:
    with_bias, plain = (Backbone(replace(SHAPE, relative=r), HRM) for r in (2, 0))
    counts = [len(parameters_by_role(backbone)["backbone"]) for backbone in (with_bias, plain)]
    assert counts[0] == counts[1] + 1
    assert with_bias.relative.table.shape == (SHAPE.heads, 5, 5)
    assert flops_per_example(with_bias, 9) == flops_per_example(plain, 9)


@pytest.mark.parametrize(
    ("model", "task", "message"),
    [
        ({"structural_heads": 2}, TaskFacts(), "model.structural_heads=2: the task names no relations between tokens"),
        ({"structural_heads": {"a": 2}}, TaskFacts(), "model.structural_heads=2: the task names no relations between"),
        ({"relative": 2}, TaskFacts(relations=("a",)), "model.relative=2: the task's tokens have no rows and columns"),
        ({"structural_heads": 1}, TaskFacts(True, ("a",)), "a causal model reads its past through a cache"),
        ({"relative": 1}, TaskFacts(True, has_positions=True), "model.relative=1: a causal model"),
        (
            {"structural_heads": {"a": 1, "c": 1}},
            TaskFacts(relations=("a", "b")),
            "model.structural_heads.c: no such relation; choose of a, b",
        ),
    ],
)
def test_a_task_without_the_layout_that_a_model_needs_is_refused(model: dict, task: TaskFacts, message: str) -> None:
    with pytest.raises(InputError) as error:
        check(TOKEN, task, ModelConfig(**model))
    assert message in str(error.value)
    assert "\n" not in str(error.value)
    check(TOKEN, TaskFacts(relations=("a", "c"), has_positions=True), ModelConfig(**model))


def test_impossible_shapes_and_missing_layouts_are_refused_in_words() -> None:
    with pytest.raises(ValueError, match=r"structural_heads=5: choose 0\.\.4"):
        replace(SHAPE, structural_heads=5)
    for heads, message in (
        (-1, r"structural_heads=-1: choose 0\.\.4"),
        ({"row": -1}, r"structural_heads\.row=-1: choose 0\.\.4"),
        ({"row": 3, "column": 2}, r"structural_heads=5 together: choose 0\.\.4"),
    ):
        with pytest.raises(ValueError, match=message):
            replace(SHAPE, structural_heads=heads)
    with pytest.raises(ValueError, match="relative=-1: choose"):
        replace(SHAPE, relative=-1)
    with pytest.raises(ValueError, match="not causal"):
        Backbone(BOTH, HRM, causal=True)
    for arm in (HRM, replace(TOKEN, halting=EntropyHalting())):
        with pytest.raises(ValueError, match="must not look at the whole sequence"):
            Backbone(SHAPE, arm, causal=True)
    backbone = perturbed(replace(HRM, halting=FixedHalting()), shape=BOTH)
    with pytest.raises(ValueError, match="structural_heads=2: the layout has no relations"):
        backbone(batch())
    with pytest.raises(ValueError, match="relative=1: the layout has no positions"):
        backbone(batch(), Layout(relations=relations(5)))


def test_the_first_heads_are_restricted_and_the_others_see_everything() -> None:
    seen = relations(2)
    made = mask_of(Layout(relations=seen), 4, ("first", "second"), None, torch.zeros(1)).attention
    assert torch.equal(made[:, 0] == 0, seen["first"])
    assert torch.equal(made[:, 1] == 0, seen["second"])
    assert torch.equal(made[:, 2:], torch.zeros(2, 2, CELLS, CELLS))


def test_a_relation_that_is_the_same_in_all_examples_is_said_once() -> None:
    """Alone, beside one of each example, and under padding."""
    shared, own = relations(1)["first"], relations(3)["second"]
    padding = torch.arange(CELLS) < torch.tensor([6, 4, 2])[:, None]
    for known in ({"first": shared}, {"first": shared, "second": own}):
        along = tuple(known)
        whole = {name: part.expand(3, -1, -1) for name, part in known.items()}
        for pad in (None, padding):
            once, each = (mask_of(Layout(pad, one), 4, along, None, torch.zeros(1)) for one in (known, whole))
            assert torch.equal(once.attention.expand_as(each.attention), each.attention)


@pytest.mark.parametrize(
    ("structural", "expected"),
    [
        (0, ""),
        (1, "a"),
        (3, "abc"),
        (5, "aabbc"),
        (8, "aaabbbcc"),
        ({"c": 2, "a": 1}, "acc"),
        ({"b": 0, "c": 1}, "c"),
        ({}, ""),
    ],
)
def test_heads_are_spread_evenly_over_relations_in_the_order_of_the_task_or_as_said(structural, expected: str) -> None:
    assert "".join(heads_along(structural, ("a", "b", "c"))) == expected


def test_a_token_that_a_relation_leads_nowhere_gets_nothing_from_its_head() -> None:
    """Not even what it holds itself: all heads along an empty relation leave the bias of the output."""
    backbone = perturbed(ARMS["baseline"], shape=replace(SHAPE, depth=1, structural_heads=4)).eval()
    (block,) = backbone.refiner.stack.blocks
    x, nowhere = batch(2), torch.zeros(1, CELLS, CELLS, dtype=torch.bool)
    with torch.no_grad():
        states = backbone(x, Layout(relations={"nowhere": nowhere})).states[0]
        expected = backbone.norm(block.feed_forward(x + block.attention.output.bias))
    torch.testing.assert_close(states, expected)


def test_gates_follow_the_route_and_leave_heads_that_see_everything_open() -> None:
    route = torch.tensor([[1, 0, -1], [0, 0, 1]])
    whole = Layout(relations=relations(2), route=route)
    gates = gates_of_route(whole, ("first", "second", "second"), 4, 5, torch.zeros(1))
    opened = [["".join(str(int(gate)) for gate in row) for row in step[:, 0].tolist()] for step in gates]
    assert opened == [["0111", "1001"], ["1001", "1001"], ["0001", "0111"], ["0001", "0001"], ["0001", "0001"]]
    assert len(gates_of_route(whole, ("first",), 4, 2, torch.zeros(1))) == 2


@pytest.mark.parametrize("segments", [1, 2])
def test_the_oracle_forces_the_gates_of_the_route_and_reports_them(segments: int) -> None:
    """In training a later segment goes on where the one before ended, at evaluation all steps are taken at once."""
    loop = RefinementConfig(4 // segments, injection="input", segments=segments)
    oracle = Arm(OracleRouter(), refinement=loop)
    backbone, plain = (perturbed(arm, shape=BOTH).train() for arm in (oracle, Arm(refinement=loop)))
    x, whole = batch(5), layout(5)
    along = ("first", "second")
    gates = [[step] * SHAPE.depth for step in gates_of_route(whole, along, SHAPE.heads, 4, x)]
    carry, other = None, None
    for _ in range(segments):
        trace, twin = backbone(x, whole, carry, record=True), plain(x, whole, other, gates)
        torch.testing.assert_close(trace.states, twin.states)
        carry, other = trace.carry.detach(), twin.carry.detach()
    at_once = backbone.eval()(x, whole, record=True)
    torch.testing.assert_close(trace.states, at_once.states)
    torch.testing.assert_close([[layer.weight for layer in step] for step in at_once.gates], gates)
    assert not torch.allclose(trace.states, plain(x, whole).states)
    torch.testing.assert_close(backbone(x, replace(whole, route=None)).states, plain.eval()(x, whole).states)


@pytest.mark.parametrize(
    ("arm", "task", "model", "message"),
    [
        (
            Arm(OracleRouter()),
            TaskFacts(relations=("a",)),
            RELATED,
            "the task does not say which relation",
        ),
        (Arm(OracleRouter()), TaskFacts(relations=("a",), hops=2), RELATED, "choose arm.refinement.steps=2 or more"),
        (Arm(OracleRouter()), TaskFacts(relations=("a",), hops=1), SHAPE, "no head follows a relation"),
        (HRM, TaskFacts(targets=3), SHAPE, "arm.refinement.supervision=last: the task has a target for each step"),
        (LOOPED, TaskFacts(targets=7), SHAPE, "arm.refinement.steps=6: the task has targets for 7 steps"),
    ],
)
def test_routes_and_targets_that_an_arm_cannot_follow_are_refused(arm, task, model, message: str) -> None:
    with pytest.raises(InputError) as error:
        check(arm, task, model)
    assert message in str(error.value)
    assert str(error.value).startswith("arm.")
