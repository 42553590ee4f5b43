"""Folders: what is written is read back bit-equal, with headwise and without, and what is not understood is refused."""

import ast
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

import headwise
from headwise.cli import main
from headwise.errors import InputError
from headwise.models.arm import Arm
from headwise.pretrained.pruned_files import load_pruned, save_pruned
from headwise.pretrained.removal import prune
from headwise.pretrained.retrofit import Retrofitted, retrofit
from headwise.pretrained.saving import load_retrofitted, save_retrofitted
from headwise.pretrained.sites import find_sites
from headwise.routing.balance import BalanceConfig
from headwise.routing.gates import GateFunction, Soft, TopK
from headwise.routing.mixtures import ReLU
from headwise.routing.routers import LearnedRouter
from tests.pretrained.architectures import ARCHITECTURES, FOUR, inputs, output, tiny
from tests.pretrained.test_removal import REMOVABLE, halves

transformers: Any = pytest.importorskip("transformers", reason="the extra hf is not installed")
SAID = ["llama", "mistral", "qwen2", "qwen3", "gemma2", "gemma3", "smollm3", "phi", *([] if FOUR else ["vit"])]
"""Architectures whose configuration can say that every layer has as many heads, whatever their width."""


@pytest.fixture(autouse=True)
def _quiet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """One thread, no bars, and code of folders is copied to a place of the test's."""
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "modules"))
    monkeypatch.syspath_prepend(str(tmp_path / "modules"))
    transformers.logging.disable_progress_bar()
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def routed(name: str, gate: GateFunction | None = None, scale: float = 0.3) -> Retrofitted:
    arm = Arm(router=LearnedRouter(), gate=gate or ReLU(), balance=BalanceConfig(losses=("sparsity",)))
    retrofitted = retrofit(tiny(name), arm, {"sparsity": 0.5})
    for number, parameter in enumerate(retrofitted.parameters()):
        parameter.data.copy_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(number)) * scale)
    return retrofitted


@pytest.mark.parametrize("name", REMOVABLE)
def test_a_model_with_as_many_heads_in_every_layer_needs_no_code_where_its_configuration_can_say_so(
    name: str, tmp_path: Path
) -> None:
    model, given = tiny(name), inputs(name)
    prune(model, halves(find_sites(model), 1))
    expected = output(model, name, given)
    folder = save_pruned(model, tmp_path / "pruned")
    assert (folder / "modeling_headwise.py").exists() == (name not in SAID)
    if name in SAID:
        assert "headwise" not in (folder / "config.json").read_text()
        again = type(model).from_pretrained(folder).eval()
        assert torch.equal(output(again, name, given), expected)
    assert torch.equal(output(load_pruned(folder), name, given), expected)


@pytest.mark.parametrize("name", REMOVABLE)
def test_a_model_with_unequal_layers_is_loaded_by_its_own_code_or_refused(name: str, tmp_path: Path) -> None:
    model, given = tiny(name), inputs(name)
    prune(model, halves(find_sites(model), 2))
    expected = output(model, name, given)
    folder = save_pruned(model, tmp_path / "pruned")
    code = (folder / "modeling_headwise.py").read_text()
    imported = {node.module for node in ast.walk(ast.parse(code)) if isinstance(node, ast.ImportFrom)}
    assert imported == {"collections.abc", "typing", "torch", "transformers"}
    auto = getattr(transformers, next(iter(json.loads((folder / "config.json").read_text())["auto_map"])))
    again = auto.from_pretrained(folder, trust_remote_code=True).eval()
    assert torch.equal(output(again, name, given), expected)
    with pytest.raises(RuntimeError, match=r"ignore_mismatched_sizes|size mismatch"):
        auto.from_pretrained(folder)
    # and once more, from a model that came out of the code
    assert torch.equal(output(load_pruned(save_pruned(again, tmp_path / "again")), name, given), expected)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_a_model_with_routers_is_read_back_bit_equal_and_by_nothing_else(name: str, tmp_path: Path) -> None:
    retrofitted, given = routed(name), inputs(name)
    keys = list(retrofitted.model.state_dict())
    expected = output(retrofitted.model, name, given)
    folder = save_retrofitted(retrofitted, tmp_path / "routed")
    assert list(retrofitted.model.state_dict()) == keys
    assert torch.equal(output(retrofitted.model, name, given), expected)
    again = load_retrofitted(folder)
    assert (again.arm, again.weights, again.model.training) == (retrofitted.arm, {"sparsity": 0.5}, False)
    assert torch.equal(output(again.model, name, given), expected)
    with pytest.raises(ValueError, match="headwise_retrofitted"):
        transformers.AutoModel.from_pretrained(folder)


@pytest.mark.parametrize("every", [1, 2])
@pytest.mark.parametrize("gate", [ReLU(), TopK(3), Soft()], ids=str)
def test_a_model_with_routers_and_fewer_heads_is_read_back_bit_equal(
    gate: GateFunction, every: int, tmp_path: Path
) -> None:
    retrofitted, given = routed("llama", gate), inputs("llama")
    retrofitted.prune(halves(retrofitted.sites, every))
    retrofitted.set_temperature(0.7)
    expected = output(retrofitted.model, "llama", given)
    folder = save_retrofitted(retrofitted, tmp_path / "routed")
    again = load_retrofitted(folder)
    assert torch.equal(output(again.model, "llama", given), expected)
    assert [gates.weight.shape[-1] for gates in again.gates()] == [2, 2 if every == 1 else 4]
    with pytest.raises(InputError, match="has lost heads"):
        save_retrofitted(again, tmp_path / "named", base="smollm2")


def test_routers_in_float32_stay_so_beside_weights_in_bfloat16(tmp_path: Path) -> None:
    model = tiny("llama").bfloat16()
    retrofitted = retrofit(model, Arm(router=LearnedRouter(), gate=TopK(3)))
    retrofitted.set_k(2)
    again = load_retrofitted(save_retrofitted(retrofitted, tmp_path / "routed"))
    assert next(again.parameters()).dtype == torch.float32
    assert again.model.lm_head.weight.dtype == torch.bfloat16  # type: ignore[union-attr]
    assert again.arm.gate == TopK(2)
    again.routers[0].double()
    once_more = load_retrofitted(save_retrofitted(again, tmp_path / "double"))
    assert next(once_more.parameters()).dtype == torch.float64


def test_a_base_that_is_named_is_not_written_and_must_be_what_it_was(tmp_path: Path) -> None:
    tiny("llama").save_pretrained(tmp_path / "base")
    retrofitted, given = routed("llama"), inputs("llama")
    folder = save_retrofitted(retrofitted, tmp_path / "routed", base=str(tmp_path / "base"))
    assert sorted(file.name for file in folder.iterdir()) == ["README.md", "config.json", "routers.safetensors"]
    assert torch.equal(
        output(load_retrofitted(folder).model, "llama", given), output(retrofitted.model, "llama", given)
    )
    other = tiny("llama")
    other.model.layers[1].mlp.up_proj.weight.data.add_(0.01)
    shutil.rmtree(tmp_path / "base")
    other.save_pretrained(tmp_path / "base")
    with pytest.raises(InputError, match="no longer those that the routers were made for"):
        load_retrofitted(folder)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return save_retrofitted(routed("llama"), tmp_path / "routed")


def edit(folder: Path, **settings: Any) -> None:
    content = json.loads((folder / "config.json").read_text())
    content["headwise"] |= settings
    (folder / "config.json").write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"format": 2, "version": "9.1"}, r"format 2, written by headwise 9\.1; .* install a newer"),
        ({"format": 0}, "damaged"),
        ({"format": "one"}, "format is"),
        ({"arm": {"gate": {"name": "top_kk"}}}, r"arm\.gate\.name=top_kk: unknown"),
        ({"arm": {"gates": {}}}, "unknown key"),
        ({"class": "os"}, "class os is none of the models"),
        ({"class": "LlamaTokenizer"}, "none of the models"),
        ({"base": "./nowhere"}, "cannot be loaded"),
        ({"layers": 3}, "layers"),
    ],
)
def test_settings_that_are_not_understood_are_refused(folder: Path, settings: dict[str, Any], said: str) -> None:
    edit(folder, **settings)
    with pytest.raises(InputError, match=said) as refused:
        load_retrofitted(folder)
    assert "\n" not in str(refused.value)


def test_folders_of_another_kind_and_damaged_ones_are_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"expected a folder that headwise\.save_retrofitted wrote"):
        load_retrofitted(folder / "base")
    with pytest.raises(InputError, match=r"no config\.json there"):
        load_retrofitted(tmp_path / "nowhere")
    weights = load_file(folder / "routers.safetensors")
    name = next(iter(weights))
    save_file({key: value for key, value in weights.items() if key != name}, folder / "routers.safetensors")
    with pytest.raises(InputError, match=f"{name} is missing"):
        load_retrofitted(folder)
    (folder / "routers.safetensors").write_bytes(b"nothing of the kind")
    with pytest.raises(InputError, match="damaged or no safetensors"):
        load_retrofitted(folder)
    base = folder / "base" / "model.safetensors"
    save_file({"lm_head.weight": load_file(base)["lm_head.weight"]}, base, {"format": "pt"})
    with pytest.raises(InputError, match=r"holds no weights .* more are missing|cannot be loaded as"):
        load_retrofitted(folder)


def test_a_folder_appears_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    retrofitted = routed("llama")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "note").write_text("mine")
    with pytest.raises(InputError, match="not empty"):
        save_retrofitted(retrofitted, tmp_path / "full")
    monkeypatch.setattr("headwise.pretrained.card.of_retrofitted", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        save_retrofitted(retrofitted, tmp_path / "new")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["full"]


def test_the_card_says_how_to_load_it_and_what_was_measured(tmp_path: Path) -> None:
    card = save_retrofitted(routed("llama"), tmp_path / "a", figures={"nats a token": 3.14159}).joinpath("README.md")
    text = card.read_text()
    assert "headwise.load_retrofitted" in text
    assert "headwise prune" in text
    assert "| nats a token | 3.142 |" in text
    model = tiny("gpt2")
    prune(model, halves(find_sites(model), 2))
    assert "AutoModelForCausalLM" in (text := (save_pruned(model, tmp_path / "b") / "README.md").read_text())
    assert "trust_remote_code=True" in text
    assert "2, 4" in text


def test_the_public_names_are_there() -> None:
    assert headwise.save_retrofitted is save_retrofitted
    assert headwise.prune is prune


@pytest.fixture
def command(tmp_path: Path) -> list[str]:
    """`headwise prune` of a model whose first layer never uses its second key/value group, and a text."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    letters = {letter: number for number, letter in enumerate("?abcdefghijklmnopqrstuvwxyz ")}
    built = Tokenizer(models.WordLevel(letters, unk_token="?"))
    built.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=built, unk_token="?")
    retrofitted = routed("llama", scale=0.1)
    for number, router in enumerate(retrofitted.routers):
        router.of_input.bias.data[2 + number :] = -50  # type: ignore[union-attr,operator]
    save_retrofitted(retrofitted, tmp_path / "routed", tokenizer=tokenizer)
    (tmp_path / "text.txt").write_text("the quick brown fox jumps over the lazy dog " * 4)
    sizes = ["length=16", "blocks=2", "prompt=16", "rounds=1"]
    return ["prune", str(tmp_path / "routed"), f"data={tmp_path / 'text.txt'}", f"output={tmp_path / 'new'}", *sizes]


def test_the_command_removes_what_is_never_on_and_writes_a_model_that_computes_the_same(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*command, f"test={tmp_path / 'text.txt'}", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert [(row["unused"], row["removed"], row["heads"], row["groups"]) for row in result["layers"]] == [
        (2, 2, 2, 1),
        (1, 0, 4, 2),  # a single head of a group: only by=heads
    ]
    cache = next(row for row in result["costs"] if row["cost"].startswith("cache"))
    assert cache["pruned/dense"] == pytest.approx(0.75)
    for losses in result["losses"].values():
        assert losses["after"] == pytest.approx(losses["before"], abs=1e-5)
    before, after = load_retrofitted(tmp_path / "routed"), load_retrofitted(tmp_path / "new")
    given = inputs("llama")
    given["input_ids"] = given["input_ids"] % 28
    torch.testing.assert_close(output(after.model, "llama", given), output(before.model, "llama", given))
    assert main([*command[:3], f"output={tmp_path / 'single'}", *command[4:], "by=heads"]) == 0
    assert "removed 3 of 8 heads" in capsys.readouterr().out
    assert [site.heads for site in load_retrofitted(tmp_path / "single").sites] == [2, 3]
    # what the command wrote has nothing left to lose
    assert main(["prune", str(tmp_path / "new"), command[2], f"output={tmp_path / 'more'}", *command[4:]]) == 2
    assert "choose by=heads" in capsys.readouterr().err
    assert not (tmp_path / "more").exists()


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({1: "nowhere"}, "no config.json there"),
        ({2: "data=nowhere.txt"}, "nowhere.txt"),
        ({4: "length=1"}, "length=1: choose at least 2"),
        ({4: "length=4000"}, "less than one block of 4000"),
        ({5: "by=layers"}, "by=layers"),
    ],
)
def test_the_command_refuses_bad_input_in_one_line_and_writes_nothing(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], changed: dict[int, str], said: str
) -> None:
    before = sorted(tmp_path.iterdir())
    assert main([changed.get(place, word) for place, word in enumerate(command)]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert sorted(tmp_path.iterdir()) == before


def test_the_command_says_why_soft_gates_leave_nothing_to_remove(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = json.loads((tmp_path / "routed" / "config.json").read_text())["headwise"]["arm"]
    edit(tmp_path / "routed", arm=settings | {"gate": {"name": "soft"}})
    assert main(command) == 2
    assert "are never 0" in capsys.readouterr().err
