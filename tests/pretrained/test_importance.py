"""Importance of heads: derivatives against finite differences, ablation against zeroed weights, and the command."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import headwise.pretrained.importance
from headwise import cli
from headwise.errors import InputError
from headwise.lab.report.write import write_report
from headwise.models.arm import Arm
from headwise.pretrained.importance import Agreement, Units, head_measures, importance
from headwise.pretrained.objectives import NextToken, OwnEmbedding
from headwise.pretrained.retrofit import retrofit
from headwise.routing.routers import NoRouter
from tests.lab.report.test_pages import assert_self_contained
from tests.pretrained.architectures import tiny

pytest.importorskip("transformers", reason="the extra hf is not installed")
Captured = pytest.CaptureFixture[str]
TOKENS = [torch.randint(3, 64, (1, length), generator=torch.Generator().manual_seed(length)) for length in (6, 7)]


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def livelier(model: nn.Module) -> nn.Module:
    """The model in float64 with attention weights large enough for heads to matter."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "attn" in name or "attention" in name:
                parameter.copy_(0.4 * torch.randn(parameter.shape, generator=generator))
    return model.double()


def loss(model: nn.Module, tokens: Tensor) -> Tensor:
    logits = model(input_ids=tokens).logits
    return F.cross_entropy(logits[0, :-1], tokens[0, 1:], reduction="sum")


@torch.no_grad()
def slopes(
    model: nn.Module, tokens: Tensor, site: int, heads: list[int], on: list[Tensor] | None = None, step: float = 1e-5
) -> Tensor:
    """Central differences of the summed loss by the gate that some heads share at each token: [L]."""
    routed = retrofit(model, Arm(router=NoRouter()))
    on = on or [torch.ones(one.heads) for one in routed.sites]
    found = []
    for token in range(tokens.shape[1]):
        sides = []
        for sign in (1, -1):
            gates = [own.double().repeat(tokens.shape[1], 1) for own in on]
            gates[site][token, heads] += sign * step
            with routed.forced(gates):
                sides.append(loss(model, tokens))
        found.append((sides[0] - sides[1]) / (2 * step))
    routed.remove()
    return torch.stack(found)


GROUPED: dict[str, dict[str, Any]] = {"gpt2": {}, "falcon": {"new_decoder_architecture": True, "num_kv_heads": 2}}
"""Models that compute in float64 throughout, as Llama's norm does not: without and with key/value groups."""


@pytest.mark.parametrize("name", GROUPED)
def test_gate_derivatives_are_those_of_finite_differences(name: str) -> None:
    model = livelier(tiny(name, **GROUPED[name]))
    found = importance(model, TOKENS, NextToken())
    for units, heads in ((found.heads, [2]), (found.groups, [2, 3])):
        if units is None:  # GPT-2's heads have keys and values of their own
            assert name == "gpt2"
            continue
        unit = heads[0] * units.counts[1] // 4
        by_token = [slopes(model, tokens, 1, heads) for tokens in TOKENS]
        expected = {
            "gradient": sum(one.abs().mean() for one in by_token) / 2,
            "fisher": sum(one.square().mean() for one in by_token) / 2,
            "first_order": -sum(one.mean() for one in by_token) / 2,
        }
        expected["mean_gradient"] = expected["first_order"].abs()
        expected["second_order"] = expected["first_order"] + expected["fisher"] / 2
        for measure, value in expected.items():
            torch.testing.assert_close(units.measures[measure][1][unit], value, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("head", [0, 2])
def test_derivatives_are_those_of_the_model_without_the_heads_that_are_off(head: int) -> None:
    model, on = (
        livelier(tiny("gpt2")),
        [torch.tensor([True, False, True, True]), torch.tensor([True, True, False, True])],
    )
    expected = -sum(slopes(model, tokens, 1, [head], on).mean() for tokens in TOKENS) / 2
    routed = retrofit(model, Arm(router=NoRouter()))
    found = head_measures(routed, TOKENS, NextToken(), on=on)["first_order"][1]
    torch.testing.assert_close(found[head], expected, rtol=1e-6, atol=1e-9)
    assert abs(found[head] - head_measures(routed, TOKENS, NextToken())["first_order"][1][head]) > 1e-3


@pytest.mark.parametrize("name", ["llama", "gpt2"])
def test_an_ablation_costs_what_zeroing_the_columns_of_its_heads_costs(name: str) -> None:
    model = livelier(tiny(name))
    found = importance(model, TOKENS, NextToken(), ablate="all")
    with torch.no_grad():
        before = torch.stack([loss(model, tokens) / (tokens.shape[1] - 1) for tokens in TOKENS])
        for units, heads in ((found.heads, [2]), (found.groups, [2, 3])):
            if units is None:
                continue
            assert len(units.ablation) == sum(units.counts)
            attention = model.model.layers[0].self_attn if name == "llama" else model.transformer.h[0].attn
            weight = attention.o_proj.weight.T if name == "llama" else attention.c_proj.weight  # [H·E, D]
            kept = weight.clone()
            weight.unflatten(0, (4, -1))[heads] = 0
            changes = torch.stack([loss(model, tokens) / (tokens.shape[1] - 1) for tokens in TOKENS]) - before
            weight.copy_(kept)
            change, error = units.ablation[0, heads[0] * units.counts[0] // 4]
            assert change == pytest.approx(float(changes.mean()), abs=1e-12)
            assert error == pytest.approx(float(changes.std() / 2**0.5), abs=1e-12)


def test_a_contribution_is_the_length_of_what_a_head_or_group_adds() -> None:
    model = livelier(tiny("llama"))
    outputs: list[Tensor] = []
    projection = model.model.layers[1].self_attn.o_proj
    handle = projection.register_forward_pre_hook(lambda _, args: outputs.append(args[0][0]))
    with torch.no_grad():
        for tokens in TOKENS:
            model(input_ids=tokens)
    handle.remove()
    weight = projection.weight.detach()
    found = importance(model, TOKENS, NextToken())
    assert found.groups is not None
    for units, own in ((found.heads, slice(16, 24)), (found.groups, slice(16, 32))):
        added = [(out[:, own] @ weight[:, own].T).norm(dim=-1).mean() for out in outputs]
        unit = 2 if units is found.heads else 1
        value = units.measures["contribution"][1][unit]
        assert float(value) == pytest.approx(float(sum(added) / 2), rel=1e-4)  # measured in float32


def test_of_an_encoder_the_movement_of_the_embedding_counts_as_its_derivative_is_zero() -> None:
    """With a probe for every coordinate (they are the rows of a Hadamard matrix) the estimate is exact."""
    model = livelier(tiny("minilm", hidden_size=16, num_attention_heads=4))
    signs = torch.ones(1, 1)
    for _ in range(4):
        signs = torch.cat([torch.cat([signs, signs], 1), torch.cat([signs, -signs], 1)])

    class Exact(OwnEmbedding):
        def scalars(self, output: Any, tokens: Tensor, number: int) -> Tensor:
            return signs.double() @ self.keep(output, tokens)

    found = importance(model, TOKENS[:1], Exact(), ablate="all")
    assert found.groups is None
    routed = retrofit(model, Arm(router=NoRouter()))

    def embedding(gate: float) -> Tensor:
        gates = torch.ones(4, dtype=torch.float64)
        gates[3] = gate
        with routed.forced([None, gates]), torch.no_grad():
            return F.normalize(model(input_ids=TOKENS[0]).last_hidden_state[0].mean(0), dim=-1)

    moved = (embedding(1 + 1e-5) - embedding(1 - 1e-5)) / 2e-5
    second = float(found.heads.measures["second_order"][1][3])
    assert second == pytest.approx(float(moved.square().sum() / 2), rel=1e-6)
    cosine = float(embedding(1) @ embedding(0))
    assert found.heads.ablation[1, 3][0] == pytest.approx(1 - cosine, abs=1e-12)
    routed.remove()
    estimated = importance(model, TOKENS[:1], OwnEmbedding(probes=400))
    assert float(estimated.heads.measures["second_order"][1][3]) == pytest.approx(second, rel=0.3)


def test_the_model_is_left_as_it_was() -> None:
    model = tiny("llama").train()
    keys, hooks = list(model.state_dict()), [len(m._forward_pre_hooks) for m in model.modules()]
    importance(model, TOKENS, NextToken(), ablate=1)
    assert model.training
    assert list(model.state_dict()) == keys
    assert [len(m._forward_pre_hooks) for m in model.modules()] == hooks
    assert all(parameter.grad is None for parameter in model.parameters())


def test_the_heads_that_are_left_out_follow_from_the_seed() -> None:
    model = tiny("llama")
    drawn = [set(importance(model, TOKENS, NextToken(), ablate=3, seed=seed).heads.ablation) for seed in (0, 0, 1)]
    assert drawn[0] == drawn[1] != drawn[2]
    assert {len(one) for one in drawn} == {3}


def test_rank_correlation_is_that_of_a_published_formula() -> None:
    """Without ties it is 1 - 6·Σd²/(n(n² - 1)); none where all values are the same."""
    values = torch.tensor([1.0, 3.0, 2.0, 5.0, 4.0, 6.0])
    ablation = {(0, unit): (float(unit), 0.0) for unit in range(6)}
    agreement = Units([6], {"one": [values], "flat": [torch.ones(6)]}, ablation).agreement()
    assert agreement["one"].correlation == pytest.approx(1 - 6 * 4 / (6 * 35))
    low, high = agreement["one"].interval or (0, 0)
    assert -1 < low < agreement["one"].correlation < high < 1
    assert agreement["flat"] == Agreement(None, None, 6)


def test_what_cannot_be_measured_is_refused() -> None:
    with pytest.raises(InputError, match=r"ablate=9: the model has 8 heads; choose 1..8, or all"):
        importance(tiny("llama"), TOKENS, NextToken(), ablate=9)
    with pytest.raises(InputError, match="found no attention layer"):
        importance(nn.Linear(2, 2), TOKENS, NextToken())
    with pytest.raises(InputError, match="no examples"):
        importance(tiny("llama"), [], NextToken())


# The command


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tiny models with a tokenizer of single letters, and without; and a text."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("models")
    letters = {letter: number for number, letter in enumerate("_abcdefghijklmnopqrstuvwxyz")}
    tokenizer = Tokenizer(models.WordLevel(letters, unk_token="_"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    for name in ("llama", "bert", "t5"):
        tiny(name).save_pretrained(folder / name)
        PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="_").save_pretrained(folder / name)
    tiny("llama").save_pretrained(folder / "mute")
    (folder / "text.txt").write_text("the cat sat on the mat\n\nand the dog did not\n" * 4, encoding="utf-8")
    return folder


@pytest.mark.parametrize("name", ["llama", "bert"])
def test_the_command_writes_every_head_and_a_page(name: str, folders: Path, tmp_path: Path, capsys: Captured) -> None:
    words = ["heads", str(folders / name), str(folders / "text.txt"), "blocks=2", "context=12", "ablate=5"]
    assert cli.main([*words, f"output={tmp_path / 'out'}"]) == 0
    assert "report:" in capsys.readouterr().out
    result = json.loads((tmp_path / "out" / "heads.json").read_text(encoding="utf-8"))
    assert result["kind"] == {"llama": "causal", "bert": "encoder"}[name]
    assert result["examples"] == 2
    assert [len(site) for site in result["heads"]["measures"]["gradient"]] == [4, 4]
    assert len(result["heads"]["ablation"]) == result["heads"]["agreement"]["gradient"]["number"] == 5
    assert (result["groups"] is None) == (name == "bert")
    if name == "llama":
        assert len(result["groups"]["ablation"]) == 4  # all that there are
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert_self_contained(page)
    assert "Every head" in page
    result["heads"]["ablation"][0]["site"] = 7
    (tmp_path / "out" / "heads.json").write_text(json.dumps(result), encoding="utf-8")
    with pytest.raises(InputError, match=r"damaged: heads.ablation\[0\] is of no such unit"):
        write_report(tmp_path / "out")


def test_a_stopped_measurement_goes_on_with_the_heads_that_are_left(
    folders: Path, tmp_path: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["heads", str(folders / "llama"), str(folders / "text.txt"), "blocks=2", "context=12", "ablate=3", "--json"]
    assert cli.main([*words, f"output={tmp_path / 'whole'}"]) == 0
    whole = json.loads(capsys.readouterr().out)
    left_out, ablate = list[int](), headwise.pretrained.importance._ablate

    def stops_at(call: int | None) -> None:
        def counted(*arguments: Any) -> tuple[float, float]:
            left_out.append(1)
            if len(left_out) == call:
                raise KeyboardInterrupt
            return ablate(*arguments)

        left_out.clear()
        monkeypatch.setattr("headwise.pretrained.importance._ablate", counted)

    stops_at(3)
    assert cli.main([*words, f"output={tmp_path / 'out'}"]) == 130
    said = capsys.readouterr().err
    assert f"heads that were left out are kept, continue with: headwise heads {folders / 'llama'}" in said
    stops_at(None)
    assert cli.main([*words, f"output={tmp_path / 'out'}"]) == 0
    went_on = json.loads(capsys.readouterr().out)
    assert [went_on[key] for key in ("heads", "groups")] == [whole[key] for key in ("heads", "groups")]
    assert len(left_out) == 3 + 3 - 2
    assert cli.main([*words, "seed=1", f"output={tmp_path / 'out'}"]) == 2
    assert "was measured with seed=0, not 1; choose another output" in capsys.readouterr().err
    changed = tiny("llama")
    with torch.no_grad():
        next(changed.parameters()).add_(1)
    before = folders / "llama" / "model.safetensors"
    whole_weights = before.read_bytes()
    changed.save_pretrained(folders / "llama")
    assert cli.main([*words, f"output={tmp_path / 'out'}"]) == 2
    assert "the model has changed since it was measured; choose another output" in capsys.readouterr().err
    before.write_bytes(whole_weights)


@pytest.mark.parametrize(
    ("model", "words", "said"),
    [
        ("nowhere", [], "no such folder"),
        ("mute", [], "has no tokenizer"),
        ("t5", [], "an encoder-decoder"),
        ("llama", ["context=60", "blocks=1", "ablate=9"], "ablate=9: the model has 8 heads; choose 1..8, or all"),
        ("llama", ["context=65"], "reads at most 64 tokens"),
        ("bert", ["blocks=0"], "blocks=0: choose 1 or more"),
        ("llama", ["ablate=some"], "ablate=some: expected a whole number or all"),
    ],
)
def test_a_mistake_is_one_line(
    model: str, words: list[str], said: str, folders: Path, tmp_path: Path, capsys: Captured
) -> None:
    given = ["heads", str(folders / model), str(folders / "text.txt"), *words, f"output={tmp_path / 'out'}"]
    assert cli.main(given) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line
    assert not (tmp_path / "out").exists()


def test_a_text_shorter_than_a_block_and_an_empty_one_are_refused(
    folders: Path, tmp_path: Path, capsys: Captured
) -> None:
    (tmp_path / "short.txt").write_text("\n\n", encoding="utf-8")
    for model, said in (("llama", "less than one block of 64"), ("bert", "has no line")):
        words = ["heads", str(folders / model), str(tmp_path / "short.txt"), "context=64"]
        assert cli.main([*words, f"output={tmp_path / 'out'}"]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert said in line


def test_an_architecture_that_nobody_knows_is_refused(folders: Path, tmp_path: Path, capsys: Captured) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "nobody"}', encoding="utf-8")
    assert cli.main(["heads", str(tmp_path), str(folders / "text.txt"), f"output={tmp_path / 'out'}"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "nobody" in line
