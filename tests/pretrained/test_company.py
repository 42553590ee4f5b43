"""A retrofitted model among what people use with models: copies, checkpointing, bf16, adapters, Trainer, DDP, compile;
and what is refused."""

import copy
import gc
import pickle
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from headwise.models.arm import Arm
from headwise.pretrained.retrofit import Retrofitted, retrofit
from headwise.pretrained.sites import find_sites
from headwise.reasoning.controllers import HRMConfig
from headwise.reasoning.refinement import RefinementConfig
from headwise.routing.balance import BalanceConfig
from headwise.routing.fixed_routers import OracleRouter, StaticRouter
from headwise.routing.gates import Sigmoid, TopK
from headwise.routing.mixtures import ReLU
from headwise.routing.routers import LearnedRouter
from headwise.routing.unit_gates import Unit
from tests.pretrained.architectures import inputs, output, tiny

pytest.importorskip("transformers", reason="the extra hf is not installed")
RELU = Arm(router=LearnedRouter(), gate=ReLU())
BUDGET = Arm(router=LearnedRouter(), gate=ReLU(), balance=BalanceConfig(target=2.0))


def routed(name: str = "llama", arm: Arm = RELU, **settings: Any) -> Retrofitted:
    """A model whose routers are no longer where they start."""
    retrofitted = retrofit(tiny(name, **settings), arm)
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in retrofitted.parameters():
            parameter.copy_(0.5 * torch.randn(parameter.shape, generator=generator))
    return retrofitted


def gradients(
    retrofitted: Retrofitted, given: dict[str, torch.Tensor], model: Callable[..., Any] | None = None
) -> list[torch.Tensor]:
    """Of the routers, for the loss of the model, or of another form of it, and its routing losses."""
    retrofitted.model.zero_grad()
    called = retrofitted.model if model is None else model
    loss = called(**given, labels=given["input_ids"]).loss
    (loss + sum(retrofitted.losses().values(), torch.zeros(()))).backward()
    return [parameter.grad.clone() for parameter in retrofitted.parameters()]


def test_a_copy_and_a_pickled_copy_have_routers_of_their_own() -> None:
    retrofitted = routed()
    given, model = inputs("llama"), retrofitted.model
    expected = output(model, "llama", given)
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert torch.equal(output(other, "llama", given), expected)
        with torch.no_grad():
            for name, parameter in other.named_parameters():
                if ".headwise." in name:
                    parameter.zero_()
        assert not torch.equal(output(other, "llama", given), expected)
        assert torch.equal(output(model, "llama", given), expected)


@pytest.mark.filterwarnings("ignore:.*gradient_checkpointing:FutureWarning")  # by transformers itself
@pytest.mark.parametrize("name", ["llama", "gpt2"])
def test_gradient_checkpointing_changes_no_gradient_and_doubles_no_loss(name: str) -> None:
    retrofitted, given = routed(name, BUDGET), inputs(name, padded=True)
    retrofitted.model.train()
    for module in retrofitted.model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    plain, losses = gradients(retrofitted, given), retrofitted.losses()
    retrofitted.model.gradient_checkpointing_enable({"use_reentrant": False})
    for one, other in zip(gradients(retrofitted, given), plain, strict=True):
        torch.testing.assert_close(one, other)
    torch.testing.assert_close(retrofitted.losses(), losses)


@pytest.mark.filterwarnings("ignore:.*gradient_checkpointing:FutureWarning")  # by transformers itself
def test_reentrant_checkpointing_hands_back_no_losses_and_is_refused() -> None:
    retrofitted, given = routed(arm=BUDGET), inputs("llama")
    retrofitted.model.train()
    retrofitted.model.gradient_checkpointing_enable({"use_reentrant": True})
    retrofitted.model.enable_input_require_grads()
    retrofitted.model(**given)
    with pytest.raises(ValueError, match="use_reentrant"):
        retrofitted.losses()


def test_losses_are_of_the_last_pass_alone_and_know_padding() -> None:
    retrofitted, given = routed(arm=BUDGET), inputs("llama", padded=True)
    retrofitted.model.train()
    retrofitted.model(**given)
    first = retrofitted.losses()["budget"]
    retrofitted.model(**given)
    assert torch.equal(retrofitted.losses()["budget"], first)
    changed = given | {"input_ids": given["input_ids"] + 7 * (1 - given["attention_mask"])}
    retrofitted.model(**changed)
    torch.testing.assert_close(retrofitted.losses()["budget"], first)
    retrofitted.model(input_ids=given["input_ids"])
    assert (retrofitted.losses()["budget"] - first).abs() > 1e-6


# Dynamo looks at gradients of tensors that have none, and at the masks of transformers 4
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning")
@pytest.mark.filterwarnings("ignore:.*autograd.function.Function.* should not be instantiated:DeprecationWarning")
def test_compiled_in_one_graph_it_computes_the_same() -> None:
    retrofitted, text = routed(arm=BUDGET), inputs("llama", padded=True)
    retrofitted.model.train()
    compiled = torch.compile(retrofitted.model, backend="aot_eager", fullgraph=True)
    for given in (text, text | {"input_ids": text["input_ids"].flip(1)}):
        plain, gates = gradients(retrofitted, given), retrofitted.gates()
        for own, expected in zip(gradients(retrofitted, given, compiled), plain, strict=True):
            torch.testing.assert_close(own, expected)
        for own, expected in zip(retrofitted.gates(), gates, strict=True):
            assert torch.equal(own.active, expected.active)


def test_routing_losses_join_the_loss_that_the_model_returns() -> None:
    retrofitted = retrofit(tiny("llama"), BUDGET, losses={"budget": 3.0})
    given = inputs("llama")
    retrofitted.model.train()
    added = retrofitted.model(**given, labels=given["input_ids"]).loss
    budget = retrofitted.losses()["budget"]
    assert budget.abs() > 1e-3
    retrofitted.weights = {}
    torch.testing.assert_close(added - retrofitted.model(**given, labels=given["input_ids"]).loss, 3 * budget)
    retrofitted.weights, _ = {"budget": 3.0}, retrofitted.model.eval()
    torch.testing.assert_close(added - retrofitted.model(**given, labels=given["input_ids"]).loss, 3 * budget)


def test_a_mask_is_read_wherever_it_stands_among_the_arguments() -> None:
    retrofitted, given = routed(arm=BUDGET), inputs("llama", padded=True)
    retrofitted.model.train()
    retrofitted.model(**given)
    named = retrofitted.losses()["budget"]
    retrofitted.model(given["input_ids"], given["attention_mask"])
    assert torch.equal(retrofitted.losses()["budget"], named)


def test_a_pass_that_fails_leaves_no_gates_to_the_next() -> None:
    retrofitted = retrofit(tiny("llama"), Arm())
    model, given = retrofitted.model, inputs("llama")
    expected = output(model, "llama", given)
    broken = model.model.layers[0].self_attn.v_proj.register_forward_pre_hook(lambda module, args: 1 / 0)
    with pytest.raises(ZeroDivisionError), retrofitted.forced([torch.zeros(4)] * 2):
        model(**given)
    broken.remove()
    assert torch.equal(output(model, "llama", given), expected)


def test_losses_that_would_be_lost_are_refused() -> None:
    for weights in ({"budgte": 1.0}, {"budget": 1.0, "router_z": 1.0}):
        with pytest.raises(ValueError, match="routers make budget"):
            retrofit(tiny("llama"), BUDGET, losses=weights)
    with pytest.raises(ValueError, match="routers make none"):
        retrofit(tiny("llama"), RELU, losses={"budget": 1.0})
    retrofitted, given = retrofit(tiny("llama"), BUDGET, losses={"budget": 1.0}), inputs("llama")
    retrofitted.model.train()
    with pytest.raises(ValueError, match="return_dict=True"):
        retrofitted.model(**given, labels=given["input_ids"], return_dict=False)


def test_steering_moves_the_budgets_multiplier_towards_the_target() -> None:
    retrofitted = routed(arm=BUDGET)
    retrofitted.model.train()
    retrofitted.model(**inputs("llama"))
    loads = [load.sum() for load in retrofitted.loads()]
    retrofitted.steer()
    for router, load in zip(retrofitted.routers, loads, strict=True):
        assert torch.sign(router.multiplier) == torch.sign(load - 2.0)


def test_in_a_model_in_bf16_routers_stay_in_float32() -> None:
    retrofitted = retrofit(tiny("llama").bfloat16(), RELU)
    assert {parameter.dtype for parameter in retrofitted.parameters()} == {torch.float32}
    assert output(retrofitted.model, "llama", inputs("llama")).dtype == torch.bfloat16


def test_temperature_and_number_of_heads_are_schedules_of_the_handle() -> None:
    retrofitted = routed(arm=Arm(router=LearnedRouter(), gate=Unit(k=4)))
    given = inputs("llama")
    for k in (4, 3, 1):
        retrofitted.set_k(k)
        output(retrofitted.model, "llama", given)
        assert all((gates.active.sum(-1) == k).all() for gates in retrofitted.gates())
    soft = routed(arm=Arm(router=LearnedRouter(), gate=Sigmoid()))
    output(soft.model, "llama", given)
    sharp = soft.gates()[0].weight
    soft.set_temperature(1e6)
    output(soft.model, "llama", given)
    torch.testing.assert_close(soft.gates()[0].weight, torch.ones_like(sharp), rtol=0, atol=1e-4)
    with pytest.raises(ValueError, match="keeps no fixed number of heads"):
        soft.set_k(2)
    with pytest.raises(ValueError, match="4 heads"):
        retrofitted.set_k(5)


@pytest.mark.filterwarnings("ignore:.*gradient_checkpointing:FutureWarning")  # by peft
def test_adapters_before_the_retrofit_train_beside_the_routers_and_after_it_are_refused() -> None:
    peft = pytest.importorskip("peft", reason="peft is not installed")
    config = peft.LoraConfig(target_modules=["q_proj", "o_proj"], r=2, init_lora_weights=False)
    given = inputs("llama")
    adapted = peft.get_peft_model(tiny("llama"), config).eval()
    before = adapted(**given).logits
    retrofitted = retrofit(adapted, RELU)
    assert torch.equal(adapted(**given).logits, before)
    adapted(**given).logits.square().sum().backward()
    trained = {name for name, parameter in adapted.named_parameters() if parameter.grad is not None}
    assert any("lora_" in name for name in trained)
    assert any(".headwise." in name for name in trained)
    off = [torch.zeros(4)] * 2
    with retrofitted.forced(off):
        layer = retrofitted.sites[0].attention
        seen: list[torch.Tensor] = []
        handle = layer.register_forward_hook(lambda module, args, out: seen.append(out[0]))
        adapted(**given)
        handle.remove()
    assert seen[0].abs().max() == 0, "the adapter of the output projection is behind the gates, too"
    late = retrofit(tiny("llama"), RELU)
    wrapped = peft.get_peft_model(late.model, config)
    with pytest.raises(ValueError, match="put adapters in first"):
        wrapped(**given)


@dataclass
class Texts(torch.utils.data.Dataset):  # type: ignore[type-arg]
    """Eight texts of ten tokens."""

    number: int = 8

    def __len__(self) -> int:
        return self.number

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        tokens = torch.randint(3, 64, (10,), generator=torch.Generator().manual_seed(index))
        return {"input_ids": tokens, "labels": tokens}


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
def test_a_trainer_trains_the_routers_with_their_losses(tmp_path: Path) -> None:
    pytest.importorskip("accelerate", reason="accelerate is not installed")
    import transformers

    retrofitted = retrofit(tiny("llama"), BUDGET, losses={"budget": 1.0})
    for name, parameter in retrofitted.model.named_parameters():
        parameter.requires_grad_(".headwise." in name)
    frozen = [parameter.clone() for parameter in retrofitted.model.model.embed_tokens.parameters()]
    arguments = transformers.TrainingArguments(
        output_dir=str(tmp_path),
        max_steps=2,
        per_device_train_batch_size=4,
        learning_rate=0.01,
        report_to=[],
        use_cpu=True,
        save_strategy="no",
        disable_tqdm=True,
        dataloader_pin_memory=False,
    )
    transformers.Trainer(retrofitted.model, arguments, train_dataset=Texts()).train()
    assert all(parameter.abs().sum() > 0 for parameter in retrofitted.parameters())
    assert all(map(torch.equal, retrofitted.model.model.embed_tokens.parameters(), frozen))


def test_every_process_of_ddp_sees_its_routers_gradients() -> None:
    torch.distributed.init_process_group("gloo", store=torch.distributed.HashStore(), rank=0, world_size=1)
    try:
        of_ddp, plain = gradients_of_ddp_and_plain()
        # What holds the group goes first: else DDP's reducer, the last to do so, waits for the group's threads with the
        # interpreter locked, and one of them may be waiting for the interpreter
        gc.collect()
    finally:
        torch.distributed.destroy_process_group()
    for shared, own in zip(of_ddp, plain, strict=True):
        torch.testing.assert_close(shared, own)


def gradients_of_ddp_and_plain() -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    retrofitted, given = routed(arm=BUDGET), inputs("llama")
    retrofitted.model.train()
    plain = gradients(retrofitted, given)
    return gradients(retrofitted, given, nn.parallel.DistributedDataParallel(retrofitted.model)), plain


class OddAttention(nn.Module):
    """An attention layer of no known structure."""

    def __init__(self) -> None:
        super().__init__()
        self.mix = nn.Linear(8, 8)


class Fancy(nn.Module):
    """A model around a part of another class."""

    def __init__(self, part: nn.Module) -> None:
        super().__init__()
        self.layer = part


def test_a_layer_that_is_applied_at_every_depth_has_one_router() -> None:
    model = tiny("llama")
    model.model.layers[1].self_attn = model.model.layers[0].self_attn
    before = output(model, "llama", inputs("llama"))
    retrofitted = retrofit(model, RELU)
    assert len(retrofitted.routers) == 1
    assert torch.equal(output(model, "llama", inputs("llama")), before)


@pytest.mark.parametrize(
    ("model", "arm", "said"),
    [
        (lambda: Fancy(OddAttention()), RELU, r"layer \(OddAttention\) has no output projection named o_proj"),
        (lambda: Fancy(nn.Linear(2, 2)), RELU, "Fancy: found no attention layer"),
        (lambda: Fancy(nn.MultiheadAttention(8, 2)), RELU, "without calling its projection"),
        (lambda: routed().model, RELU, "has routers already"),
        (lambda: tiny("llama"), Arm(router=LearnedRouter("sequence"), gate=ReLU()), "must not see ahead"),
        (lambda: tiny("bart"), Arm(router=LearnedRouter("sequence"), gate=ReLU()), "decoder.*must not see ahead"),
        (lambda: tiny("llama"), Arm(router=LearnedRouter(), gate=TopK(5)), "4 heads"),
        (lambda: tiny("llama"), Arm(router=StaticRouter(5)), "4 heads"),
        (lambda: tiny("llama"), Arm(router=OracleRouter()), "router other than oracle"),
        (lambda: tiny("llama"), Arm(router=LearnedRouter(), controller=HRMConfig()), "arm.controller"),
        (lambda: tiny("llama"), Arm(refinement=RefinementConfig(steps=2)), "arm.refinement"),
    ],
)
def test_what_cannot_be_routed_is_refused_by_name_and_left_as_it_was(model: Any, arm: Arm, said: str) -> None:
    made = model()
    keys, hooks = list(made.state_dict()), [len(module._forward_pre_hooks) for module in made.modules()]
    with pytest.raises(ValueError, match=said):
        retrofit(made, arm)
    assert list(made.state_dict()) == keys
    assert [len(module._forward_pre_hooks) for module in made.modules()] == hooks


def test_an_encoder_may_be_routed_by_the_whole_sequence() -> None:
    retrofitted = retrofit(tiny("bert"), Arm(router=LearnedRouter("sequence"), gate=ReLU()))
    output(retrofitted.model, "bert", inputs("bert"))
    assert all(gates.weight.shape == (2, 1, 4) for gates in retrofitted.gates())


def test_sites_know_heads_groups_and_direction() -> None:
    assert [(s.heads, s.head_width, s.groups, s.sees_ahead) for s in find_sites(tiny("qwen3"))] == [
        (4, 12, 2, False)
    ] * 2
    assert [(s.heads, s.head_width) for s in find_sites(tiny("deepseek_v3"))] == [(4, 12)] * 2, "values are wider"
    assert [s.groups for s in find_sites(tiny("falcon"))] == [1, 1]
    assert [s.sees_ahead for s in find_sites(tiny("t5"))] == [True] * 2 + [False] * 4
    assert [s.width for s in find_sites(tiny("gpt2"))] == [32, 32]
