"""Every kind of pretrained encoder, from a folder as it was downloaded to trees; or refused before anything is made."""

import json
from pathlib import Path

import pytest
import torch

from headwise.errors import InputError
from headwise.models.sizes import ModelConfig
from headwise.tasks.parsing import ParsingConfig
from headwise.tasks.parsing.prediction import Parser
from headwise.tasks.parsing.pretrained import Pretrained
from headwise.tasks.parsing.sentences import Sentence
from headwise.training.config import RunConfig, TrainingConfig
from headwise.training.evaluation import evaluate, load
from headwise.training.run import train
from tests.tasks.parsing import tiny_encoders
from tests.tasks.parsing.tiny_encoders import KINDS, LIMIT, REFUSED
from tests.tasks.parsing.tiny_encoders import t as transformers

TAKEN = [kind for kind in KINDS if kind not in REFUSED]
TEXTS = ("the dog saw a cat .", "a cat chased the old dog near the house .", "hello world", "the walker saw the dog")
UNLIMITED = ("xlnet", "modernbert", "llama", "t5")
"""Positions are relative or rotated: there is no table that ends."""


@pytest.fixture(scope="session")
def folders(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("kinds")
    for kind in KINDS:
        tiny_encoders.save(kind, root / kind)
    return root


@pytest.fixture(scope="session")
def treebank(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("treebank")
    for split in ("train", "dev", "test"):
        (folder / f"tiny-ud-{split}.conllu").write_text("".join(map(chain, TEXTS)))
    return folder


def chain(text: str) -> str:
    """A sentence in which each word hangs on the one before it."""
    words = enumerate(text.split())
    return "".join(f"{i + 1}\t{word}\t_\t_\t_\t_\t{i}\t{'dep' if i else 'root'}\t_\t_\n" for i, word in words) + "\n"


def unparsed(text: str) -> Sentence:
    return Sentence(tuple(text.split()), (), (), "text:1")


FROZEN = (*TAKEN[::4], "bart")
"""Features of a frozen encoder are what its forward pass, which each tuned kind takes too, has returned."""


@pytest.mark.parametrize(
    ("kind", "frozen"),
    [*((kind, False) for kind in TAKEN), *((kind, True) for kind in FROZEN)],
    ids=lambda value: {False: "tuned", True: "frozen"}.get(value, value),
)
def test_an_encoder_is_trained_saved_evaluated_and_parses(kind, frozen, folders, treebank, tmp_path):
    encoder = Pretrained(str(folders / kind), frozen=frozen)
    config = RunConfig(
        ParsingConfig(treebank=str(treebank), encoder=encoder, arcs=4, labels=4),
        model=ModelConfig(width=8, heads=2, ffn=8),
        training=TrainingConfig(updates=2, batch_size=2, validate_every=2, loggers=()),
        output=str(tmp_path),
    )
    run = train(config, progress=False)
    summary = json.loads((run / "summary.json").read_text())
    assert evaluate(run)["value"] == summary["value"]
    model = load(run)
    published = dict(encoder.load(model.task.facts["encoder"]).named_parameters())
    own = dict(model.task.encoder.named_parameters())
    moved = {name for name, parameter in own.items() if not torch.equal(parameter, published[name])}
    assert bool(moved) != frozen
    assert moved <= {name for name, parameter in own.items() if parameter.requires_grad}
    (tree,) = Parser(model, "fp32")([unparsed(TEXTS[0])])
    assert tree.heads.count(0) == 1


@pytest.mark.parametrize("kind", TAKEN)
def test_it_takes_the_longest_sentence_that_the_model_takes_and_none_longer(kind, folders):
    """How long that is, transformers says by failing."""
    encoder = Pretrained(str(folders / kind))
    facts = encoder.learn([])
    assert json.loads(json.dumps(facts)) == facts
    raw = transformers.AutoModel.from_pretrained(folders / kind).eval()
    raw = raw.get_encoder() if raw.config.is_encoder_decoder else raw
    inputs, model = encoder.inputs(facts, None), encoder.load(facts)

    def takes(subwords: int) -> bool:
        ids = torch.full((1, subwords), 9)
        try:
            raw(input_ids=ids, attention_mask=torch.ones_like(ids))
        except (IndexError, RuntimeError):
            return False
        return True

    def reads(subwords: int) -> bool:
        words = subwords - 2
        if facts["limit"] is not None and subwords > facts["limit"]:
            with pytest.raises(InputError, match=f"make {subwords} subwords .*, the encoder takes {facts['limit']};"):
                inputs([unparsed("a " * words)])
            return False
        batch = inputs([unparsed("a " * words)]).batch(torch.tensor([0]))
        assert batch["subwords"].shape == (1, subwords)
        model(batch | {"mask": torch.ones(1, words, dtype=torch.bool)})
        return True

    with torch.no_grad():
        lengths = range(LIMIT - 4, LIMIT + 4)
        assert [reads(n) for n in lengths] == [takes(n) for n in lengths]
        assert takes(LIMIT + 3) == (kind in UNLIMITED)


@pytest.mark.parametrize("kind", TAKEN)
def test_its_first_layer_alone_is_the_first_of_its_layers(kind, folders):
    encoder = Pretrained(str(folders / kind), layers=1)
    facts = encoder.learn([])
    one = encoder.load(facts)
    whole = Pretrained(str(folders / kind))
    every = dict(whole.load(whole.learn([])).named_parameters())
    assert all(torch.equal(parameter, every[name]) for name, parameter in one.named_parameters())
    assert len(dict(one.named_parameters())) < len(every) or kind == "albert", "whose layers share their weights"
    batch = encoder.inputs(facts, None)([unparsed("the dog")]).batch(torch.tensor([0]))
    assert one(batch | {"mask": torch.ones(1, 2, dtype=torch.bool)}).shape == (1, 2, 16)


@pytest.mark.parametrize("kind", REFUSED)
def test_an_encoder_that_padding_reaches_is_refused_in_one_line(kind, folders):
    with pytest.raises(InputError, match=r"task.encoder.model=\S+: cannot be used .* depends on the padding") as caught:
        Pretrained(str(folders / kind)).learn([])
    assert "\n" not in str(caught.value)


def test_half_precision_is_trained_in_full(folders):
    """Beside 1, float16 ends at steps of 0.001: smaller updates would be lost."""
    encoder = Pretrained(str(folders / "bert_half"))
    facts = encoder.learn([])
    for module in (encoder.load(facts), encoder.module(facts)):
        assert {parameter.dtype for parameter in module.parameters()} == {torch.float32}


def test_what_no_words_vector_depends_on_is_not_trained(folders):
    """Longformer's global attention, which nothing here asks for."""
    encoder = Pretrained(str(folders / "longformer"))
    frozen = [name for name, p in encoder.module(encoder.learn([])).named_parameters() if not p.requires_grad]
    assert len(frozen) == 12
    assert all("_global" in name for name in frozen)


def test_weights_that_lack_a_layer_are_refused(folders, tmp_path):
    """transformers alone would draw random numbers for it, and say so in a table."""
    from safetensors.torch import load_file, save_file

    folder = tiny_encoders.save("bert", tmp_path / "bert")
    weights = load_file(folder / "model.safetensors")
    kept = {name: value for name, value in weights.items() if not name.startswith("encoder.layer.1.output")}
    save_file(kept, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(InputError, match=r"its weights lack encoder.layer.1.output.dense.weight") as caught:
        Pretrained(str(folder)).learn([])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("damage", ["config.json", "model.safetensors", "tokenizer.json"])
def test_a_damaged_folder_is_one_line(damage, tmp_path):
    folder = tiny_encoders.save("bert", tmp_path / "bert")
    (folder / damage).write_bytes((folder / damage).read_bytes()[:100])
    with pytest.raises(InputError, match=r"task.encoder.model=\S+/bert: ") as caught:
        Pretrained(str(folder)).learn([])
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500
