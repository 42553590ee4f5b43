"""Floor and ceiling, against definitions written out, and the published figure."""

import json
import math
from collections import Counter, defaultdict

import pytest
import torch

from headwise.tasks.language import LanguageConfig, LanguageData
from headwise.tasks.language.grammar import generate
from headwise.tasks.language.references import Closed, Unigram
from headwise.tasks.language.sources import Records, Windows
from headwise.tasks.language.tokens import Encoded

SENTENCES = ["a b c", "a b d", "a b d e", "a f", "a f", "g b c", "h"]


def closed_data(tmp_path, sentences: list[str]) -> LanguageData:
    (tmp_path / "corpus.json").write_text(json.dumps(sentences))
    return LanguageData(LanguageConfig(corpus=str(tmp_path / "corpus.json"), held_out=0.0), seed=0)


def prefix_tree_losses(sentences: list[str]) -> list[float]:
    """Mean of -ln p(word | all words before it) after the first word, from counted prefixes, the end included."""
    rows = [(*sentence.split(), "</s>") for sentence in sentences]
    following: dict[tuple[str, ...], Counter[str]] = defaultdict(Counter)
    for row in rows:
        for i, word in enumerate(row):
            following[row[:i]][word] += 1
    losses = []
    for row in rows:
        terms = [-math.log(following[row[:i]][row[i]] / following[row[:i]].total()) for i in range(1, len(row))]
        losses.append(sum(terms) / len(terms))
    return losses


def test_the_ceiling_of_a_closed_corpus_is_the_loss_of_its_prefix_tree(tmp_path):
    data = closed_data(tmp_path, SENTENCES)
    ceiling = data.references(data.split("test"))["ceiling"]
    assert ceiling.tolist() == pytest.approx(prefix_tree_losses(SENTENCES), abs=1e-6)
    assert ceiling[-1] == 0, "after its first word nothing of `h` is left open"


def test_the_ceiling_is_the_conditional_entropy(tmp_path):
    """Over all tokens: the mean of -ln p is the mean entropy of the next token given what was read."""
    data = closed_data(tmp_path, SENTENCES)
    rows = [(*sentence.split(), "</s>") for sentence in SENTENCES]
    following: dict[tuple[str, ...], Counter[str]] = defaultdict(Counter)
    for row in rows:
        for i in range(1, len(row)):
            following[row[:i]][row[i]] += 1
    total = 0.0
    for counts in following.values():
        n = counts.total()
        total += -sum(c * math.log(c / n) for c in counts.values())  # n times the entropy of this prefix
    per_example = data.references(data.split("test"))["ceiling"].double()
    targets = torch.tensor([len(row) - 1 for row in rows])
    assert (per_example * targets).sum().item() == pytest.approx(total, abs=1e-5)


def test_no_predictor_that_reads_the_same_prefix_is_better(tmp_path):
    """Any other distribution over the sentences loses more in sum (Gibbs)."""
    data = closed_data(tmp_path, SENTENCES)
    batch = data.split("test").batch(torch.arange(len(SENTENCES)))
    best = Closed([data.split("train")])(batch).sum()
    rows = data.split("train").sequences()
    for seed in range(5):
        weight = torch.rand(len(rows), generator=torch.Generator().manual_seed(seed)).tolist()
        begin: Counter[int] = Counter()
        whole: Counter[tuple[int, ...]] = Counter()
        for row, w in zip(rows, weight, strict=True):
            begin[row[0]] += w
            whole[row] += w
        assert sum(-math.log(whole[row] / begin[row[0]]) for row in rows) > best.item()


def test_a_record_outside_the_language_has_no_ceiling():
    known = Records([Encoded([], [])], [Encoded([0, 1], [1, 1])], 9)
    other = Records([Encoded([], [])], [Encoded([0, 2], [1, 1])], 9)
    assert Closed([known])(other.batch(torch.tensor([0]))).isnan().all()


def test_the_floor_on_its_own_corpus_is_the_entropy_of_its_tokens():
    ids = [0, 1, 1, 2, 2, 2, 2, 0, 1, 0] * 20 + [0]
    source = Windows(Encoded(ids, ids), length=10)
    losses = Unigram(source, size=3)(source.batch(torch.arange(len(source)))) / 10
    shares = torch.tensor([3, 3, 4]) / 10
    assert losses.mean().item() == pytest.approx(-(shares * shares.log()).sum().item(), abs=1e-3)


def test_the_floor_is_fitted_on_the_training_part_and_finite_elsewhere(tmp_path):
    (tmp_path / "a.txt").write_text("ab" * 450 + "cd" * 50)
    config = LanguageConfig(corpus=str(tmp_path / "a.txt"), tokenizer="character", context=8)
    data = LanguageData(config, seed=0)
    train, test = (data.references(data.split(name))["floor"] for name in ("train", "test"))
    assert train.mean().item() == pytest.approx(math.log(2), abs=0.02)
    assert (test > 5).all()
    assert test.isfinite().all()
    assert "ceiling" not in data.references(data.split("test"))


def test_every_answer_of_the_synthetic_corpus_has_a_ceiling_on_held_out_questions():
    """Nothing is left open but which of the questions comes: ln of their number, over the words of each."""
    data = LanguageData(LanguageConfig(), seed=0)
    test = data.split("test")
    everything = sum(len(sentences) for sentences in generate(0).values())
    ceiling = data.references(test)["ceiling"]
    targets = test.batch(torch.arange(len(test)))["mask"].sum(1)
    torch.testing.assert_close(ceiling * targets, torch.full_like(ceiling, math.log(everything)))


def test_references_in_bits_are_those_in_nats(tmp_path):
    data = closed_data(tmp_path, SENTENCES)
    source = data.split("test")
    by_metric = data.references_by_metric(source)
    batch = source.batch(torch.arange(len(source)))
    for name in ("floor", "ceiling"):
        nats = (by_metric["loss"][name] * batch["mask"].sum(1)).sum()
        bits = nats / math.log(2) / batch["characters"].sum()
        assert by_metric["bits_per_character"][name].mean().item() == pytest.approx(bits.item(), rel=1e-5)


@pytest.mark.data
def test_the_chats_have_the_published_vocabulary_and_the_published_floor_of_the_loss(data_folder):
    data = LanguageData(LanguageConfig(corpus="facts_and_chat", root=str(data_folder)), seed=0)
    assert data.facts["vocabulary"] == 2541
    assert len(data.split("test")) == 53
    assert data.split("train").first.indices == 606
    ceiling = data.references(data.split("test"))["ceiling"]
    assert ceiling.mean().item() == pytest.approx(0.176, abs=0.0005)
    chats = json.loads((data_folder / "facts_and_chat" / "chat_training_data.json").read_text())
    words = [data.tokenizer.decode(data.tokenizer.encode(chat, chat).ids) for chat in _without_end(chats)]
    assert ceiling.tolist() == pytest.approx(prefix_tree_losses(words), abs=1e-6)


@pytest.mark.data
def test_tinyshakespeare_holds_out_its_last_tenth(data_folder):
    config = LanguageConfig(corpus="tinyshakespeare", tokenizer="character", context=64, root=str(data_folder))
    data = LanguageData(config, seed=0)
    text = (data_folder / "tinyshakespeare" / "input.txt").read_text()
    assert data.facts["vocabulary"] == len(set(text)) == 65
    ids = torch.cat([data.split(name).tokens for name in ("train", "validation", "test")])
    assert data.tokenizer.decode(ids.tolist()) == text
    assert len(data.split("train").tokens) == int(0.9 * len(text))


def _without_end(chats: list[str]) -> list[str]:
    return [chat.removesuffix(" </s>") for chat in chats]
