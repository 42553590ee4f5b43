"""Writing on: with a memory as without, the same from the same seed, and one clear line for bad prompts."""

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from headwise.commands.catalogue import commands
from headwise.commands.words import read
from headwise.errors import InputError
from headwise.models import generation
from headwise.models.arm import Arm, check
from headwise.models.backbone import Backbone
from headwise.models.generation import extend, reread
from headwise.routing.routers import LearnedRouter
from headwise.tasks.base import TaskModel
from headwise.tasks.language import LanguageConfig, LanguageData
from headwise.tasks.language.command import Options, run
from headwise.tasks.language.generate import Completion, GenerationConfig, choose, continuation, generate, prompt_tokens
from headwise.tasks.sorting import SortingConfig, SortingTask

from ...laws.arms import ARMS, SHAPE, TaskFacts, fitted, perturbed
from .test_model import model_of

SAMPLED = GenerationConfig(tokens=40, temperature=1.0, top_p=0.9, seed=3)


def admitted() -> list[str]:
    """The arms that a causal model may have."""
    names = []
    for name, arm in ARMS.items():
        try:
            check(fitted(arm), TaskFacts(True), SHAPE)
        except InputError:
            continue
        names.append(name)
    return names


def inputs(length: int = 9) -> torch.Tensor:
    return torch.randn(3, length, SHAPE.width, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def in_pieces(backbone: torch.nn.Module, x: torch.Tensor, pieces: list[int]) -> torch.Tensor:
    past, states = None, []
    for part in x.split(pieces, dim=1):
        hidden, past = extend(backbone, part, past)
        states.append(hidden)
    assert past.length == x.shape[1]
    return torch.cat(states, dim=1)


@pytest.mark.parametrize("name", admitted())
@pytest.mark.parametrize("pieces", [[1] * 9, [4, 1, 3, 1]], ids=str)
def test_reading_bit_by_bit_equals_reading_at_once(name, pieces):
    backbone = perturbed(ARMS[name], causal=True).eval()
    with torch.no_grad():
        torch.testing.assert_close(in_pieces(backbone, inputs(), pieces), reread(backbone, inputs()))


def test_the_past_of_some_examples_is_their_past():
    backbone = perturbed(ARMS["hrm_token"], causal=True).eval()
    rows = torch.tensor([2, 0])
    with torch.no_grad():
        _, past = extend(backbone, inputs()[:, :6])
        hidden, _ = extend(backbone, inputs()[:, 6:], past)
        some, _ = extend(backbone, inputs()[rows, 6:], past.rows(rows))
    torch.testing.assert_close(some, hidden[rows])


def test_planted_mean_of_the_new_tokens_alone_is_caught(monkeypatch):
    """A controller that reads the mean of the prefix needs the sum over the tokens before."""
    honest = generation._steer
    monkeypatch.setattr(generation, "_steer", lambda *a: honest(*a[:-1], generation._Seen(0, None)))
    backbone = perturbed(ARMS["hrm_token"], causal=True).eval()
    with torch.no_grad():
        assert not torch.allclose(in_pieces(backbone, inputs(), [1] * 9), reread(backbone, inputs()))


def test_a_backbone_that_sees_the_future_or_is_training_has_no_memory():
    for backbone in (perturbed(ARMS["baseline"]).eval(), perturbed(ARMS["baseline"], causal=True).train()):
        with pytest.raises(ValueError, match="needs a causal backbone in evaluation mode"):
            extend(backbone, inputs())


# Text


@pytest.fixture(scope="module")
def characters(tmp_path_factory: pytest.TempPathFactory) -> LanguageData:
    file = tmp_path_factory.mktemp("text") / "a.txt"
    file.write_text("The quick brown fox jumps over the lazy dog.\n" * 30)
    return LanguageData(LanguageConfig(corpus=str(file), tokenizer="character", context=16), seed=0)


def text_model(data: LanguageData, arm: Arm | None = None) -> TaskModel:
    return model_of(data, arm or Arm(router=LearnedRouter("token"))).double()


WRITERS = {name: fitted(ARMS[name]) for name in ("baseline", "top_k", "hrm_token")}
WRITERS["reuse_keys_values"] = replace(
    WRITERS["hrm_token"], refinement=replace(ARMS["hrm_token"].refinement, reuse="keys_values")
)


@pytest.mark.parametrize("name", WRITERS)
def test_cached_text_is_the_text_computed_anew(name, characters):
    """Sampled, and longer than the context, so that the window moves several times."""
    model = text_model(characters, WRITERS[name])
    (cached,), (plain,) = (generate(model, "The quick", replace(SAMPLED, cache=cache)) for cache in (True, False))
    assert cached == plain
    assert len(cached.tokens) == SAMPLED.tokens > 2 * characters.facts["context"]


def test_planted_position_that_starts_again_is_caught(characters, monkeypatch):
    model = text_model(characters)
    (honest,) = generate(model, "The quick", SAMPLED)
    embed = type(model.task.tokens).forward
    monkeypatch.setattr(type(model.task.tokens), "forward", lambda self, tokens, start=0: embed(self, tokens))
    assert generate(model, "The quick", SAMPLED) != [honest]


def test_the_same_seed_writes_the_same_text_whatever_torch_has_drawn(characters):
    model = text_model(characters)
    torch.manual_seed(1)
    first = generate(model, "The", SAMPLED)
    torch.manual_seed(2)
    state = torch.get_rng_state()
    assert generate(model, "The", SAMPLED) == first
    assert torch.equal(torch.get_rng_state(), state), "sampling draws from its own generator alone"
    assert generate(model, "The", replace(SAMPLED, seed=4)) != first


def test_samples_are_drawn_side_by_side_and_differ(characters):
    texts = generate(text_model(characters), "The", GenerationConfig(tokens=20, temperature=1.0, samples=3))
    assert len({text.text for text in texts}) == 3


def test_a_model_is_left_in_the_mode_in_which_it_came(characters):
    model = text_model(characters).train()
    generate(model, "The", GenerationConfig(tokens=2))
    assert model.training


def test_greedy_takes_the_best_and_top_p_the_fewest_that_reach_it():
    scores = torch.tensor([0.5, 0.3, 0.15, 0.05]).log().expand(4000, -1)
    drawn = torch.rand(4000, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert choose(scores, GenerationConfig(), drawn).unique().tolist() == [0]

    def shares(**settings) -> list[float]:
        picked = choose(scores, GenerationConfig(**settings), drawn)
        return (torch.bincount(picked, minlength=4) / len(picked)).tolist()

    assert shares(temperature=1.0) == pytest.approx([0.5, 0.3, 0.15, 0.05], abs=0.03)
    assert shares(temperature=1.0, top_p=0.6) == pytest.approx([0.625, 0.375, 0, 0], abs=0.03)
    assert shares(temperature=1.0, top_p=0.01) == [1, 0, 0, 0]
    cold = [p**2 / sum(q**2 for q in (0.5, 0.3, 0.15, 0.05)) for p in (0.5, 0.3, 0.15, 0.05)]
    assert shares(temperature=0.5) == pytest.approx(cold, abs=0.03)


def test_the_largest_random_number_takes_a_token_that_has_a_probability():
    scores = torch.tensor([[0.0, -torch.inf, 1.0, -torch.inf]])
    for drawn, token in ((0.0, 2), (1.0, 0)):
        assert choose(scores, GenerationConfig(temperature=1.0), torch.tensor([drawn]).double()).tolist() == [token]


def test_an_accelerator_is_asked_every_few_tokens_whether_all_has_ended_and_gives_the_same(characters, monkeypatch):
    """On the CPU, where looking is free, with the rule of an accelerator."""
    model = text_model(characters)
    prompt = torch.tensor([prompt_tokens(model.task, "The")])
    ends = continuation(model, prompt, GenerationConfig(tokens=6))[0, 3].item()  # say that this token ends a text
    monkeypatch.setattr(type(model.task), "end", property(lambda task: ends))
    config = GenerationConfig(tokens=40)
    each = continuation(model, prompt, config)
    monkeypatch.setattr("headwise.tasks.language.generate._look_every", lambda device: 16)
    torch.testing.assert_close(continuation(model, prompt, config), each)
    assert each.shape[1] <= 4


def test_a_record_ends_where_the_model_ends_it_or_after_so_many_tokens():
    data = LanguageData(LanguageConfig(), seed=0)
    model = model_of(data, Arm())
    with torch.no_grad():  # the same state everywhere, and the end's score alone depends on it
        model.backbone.norm.weight.zero_()
        model.task.next_token.weight.zero_()
        model.task.next_token.weight[data.facts["end"]] = model.backbone.norm.bias
    assert generate(model, "User: Tell me") == [Completion("", [], ended=True)]
    with torch.no_grad():
        model.task.next_token.weight.neg_()
    (found,) = generate(model, "User: Tell me")
    assert len(found.tokens) == 256
    assert not found.ended


def test_a_sequence_that_has_ended_does_not_stop_the_others():
    data = LanguageData(LanguageConfig(), seed=0)
    texts = generate(model_of(data, Arm()), "User: Tell me", GenerationConfig(tokens=300, temperature=1.0, samples=4))
    assert all(text.ended for text in texts)
    assert len({len(text.tokens) for text in texts}) > 1


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        ("", "prompt: empty; write at least one token"),
        ("The zoo ?", "prompt: unknown characters '?'"),
        ("The quick brown fox", "prompt: 19 tokens, but the model sees at most 16; shorten it"),
        ("\ud800", "prompt: not valid Unicode"),
    ],
)
def test_a_prompt_that_cannot_be_continued_is_refused(characters, prompt, message):
    with pytest.raises(InputError) as caught:
        generate(text_model(characters), prompt)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"tokens": 0}, "tokens=0: choose 1 or more"),
        ({"temperature": -1.0}, "temperature=-1.0: choose 0"),
        ({"temperature": math.nan}, "temperature=nan: choose 0"),
        ({"temperature": 1.0, "top_p": 0.0}, "top_p=0.0: choose a number above 0"),
        ({"top_p": 0.9}, "top_p=0.9: has no effect on greedy text"),
        ({"samples": 2}, "samples=2: has no effect on greedy text"),
        ({"seed": -1}, "seed=-1: choose 0 or more"),
    ],
)
def test_settings_out_of_range_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        GenerationConfig(**settings)


# The command


def options(*words: str) -> Options:
    return read(commands()["generate"], Options, words)


def test_the_command_writes_plain_json(characters):
    model = text_model(characters)
    settings = ["tokens=5", "temperature=0.7", "seed=1", "cache=false"]
    found = run(options("runs/a", "The", *settings), {"runs/a": model}.__getitem__)
    assert json.loads(json.dumps(found)) == found
    assert found["prompt"] == "The"
    assert [(one["tokens"], len(one["text"]), one["ended"]) for one in found["completions"]] == [(5, 5, False)]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "generate: which run? write headwise generate"),
        (["runs/a"], "generate: which prompt?"),
        (["runs/a", "How", "do"], "generate do: a word too many; write headwise generate <run> <prompt>"),
        (["runs/a", "How", "heat=1"], "generate heat=1: unknown key; allowed in generate: tokens, temperature"),
        (["runs/a", "How", "tokens=many"], "tokens=many: expected a whole number"),
        (["runs/a", "How", "top_p=0.5"], "top_p=0.5: has no effect on greedy text"),
    ],
)
def test_the_command_says_what_is_wrong_before_it_loads_anything(words, message):
    def load(path: str) -> TaskModel:
        raise AssertionError("nothing to load")

    with pytest.raises(InputError) as caught:
        run(options(*words), load)
    assert str(caught.value).startswith(message)


def test_a_run_of_another_task_is_refused():
    other = TaskModel(SortingTask(SortingConfig(), {}, SHAPE.width), Backbone(SHAPE, Arm()))
    with pytest.raises(InputError, match="runs/a: a model of the task sorting; generate needs one of language"):
        run(options("runs/a", "How"), lambda path: other)


@pytest.mark.data
def test_a_trained_run_answers_without_its_data(data_folder: Path):
    """Facts carry the tokenizer: a model made from them alone reads and writes."""
    data = LanguageData(LanguageConfig(corpus="facts_and_chat", root=str(data_folder)), seed=0)
    model = model_of(data, Arm())
    (found,) = generate(model, "User: How do mountains form?", GenerationConfig(tokens=5))
    assert len(found.tokens) == 5 or found.ended
    with pytest.raises(InputError, match=r"unknown words 'Wombats'"):
        generate(model, "Wombats")
