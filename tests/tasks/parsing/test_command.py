"""`headwise parse`: everything comes back but the trees, in its order; what cannot be parsed is said and not lost."""

import io
import json
import os
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from headwise.commands.catalogue import commands
from headwise.commands.words import read as read_words
from headwise.errors import InputError
from headwise.models.arm import Arm
from headwise.models.backbone import Backbone
from headwise.models.sizes import ModelConfig
from headwise.tasks.base import Ending, TaskModel
from headwise.tasks.parsing import ParsingConfig, ParsingData, ParsingTask, command, prediction
from headwise.tasks.parsing.command import run
from headwise.tasks.parsing.metrics import corpus_scores
from headwise.tasks.parsing.pretrained import Pretrained
from headwise.tasks.parsing.scratch import Scratch
from headwise.tasks.parsing.sentences import Sentence, read
from headwise.tasks.sorting import SortingConfig, SortingTask

SHAPE = ModelConfig(width=16, heads=4, ffn=24)
# A remark without a value, a word in two parts, one that was left out, an enhanced graph, odd spaces in the text
KEPT = """\
# sent_id = a-1
# a remark
#text=Nobody said so, nor  did   I.
1	Nobody	nobody	PRON	NN	Number=Sing	2	nsubj	2:nsubj|4.1:nsubj	_
2	said	say	VERB	VBD	Tense=Past	0	root	0:root	A=1|B
3-4	sonor	_	_	_	_	_	_	_	SpaceAfter=No
3	so	so	ADV	RB	_	2	advmod	2:advmod	Note=x y
4	nor	nor	CCONJ	CC	_	5	cc	4.1:cc	_
4.1	did	do	AUX	_	_	_	_	2:conj	CopyOf=2
5	I	I	PRON	PRP	Case=Nom	2	conj	2:conj	SpaceAfter=No
6	.	.	PUNCT	.	_	2	punct	2:punct	_

"""


def plain(*words: str, head: str = "_") -> str:
    """A sentence in CoNLL-U; with a head, every word but the first hangs on the first."""
    rows = [
        [str(i), word, *"____", head if i > 1 or head == "_" else "0", "_" if head == "_" else "dep", "_", "_"]
        for i, word in enumerate(words, start=1)
    ]
    return "\n".join(map("\t".join, rows)) + "\n\n"


def model_of(config: ParsingConfig) -> TaskModel:
    """Random weights, large enough for trees that differ."""
    data = ParsingData(config, seed=0)
    torch.manual_seed(5)
    model = TaskModel(ParsingTask(config, data.facts, SHAPE.width), Backbone(SHAPE, Arm()))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return model


@pytest.fixture(scope="module")
def model() -> TaskModel:
    small = Scratch(word=8, characters=8, hidden=8, layers=1)
    return model_of(ParsingConfig(encoder=small, arcs=8, labels=6, train_sentences=60))


def options(*words: str) -> command.Options:
    return read_words(commands()["parse"], command.Options, words)


def parse(model: TaskModel, file: Path, *settings: str) -> tuple[list[str], Ending]:
    """The parts of the text as they come, and the end."""
    writing, parts = run(options("runs/a", str(file), *settings), {"runs/a": model}.__getitem__), []
    while True:
        try:
            parts.append(next(writing))
        except StopIteration as end:
            return parts, end.value


def written(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def rows(text: str) -> list[list[str]]:
    return [line.split("\t") for line in text.splitlines()]


# What comes out


def test_everything_but_heads_relations_and_graph_comes_back_as_it_was(model, tmp_path):
    content = plain("one") + KEPT + plain("two", "words") + KEPT
    parts, ending = parse(model, written(tmp_path / "in.conllu", content), "precision=fp32")
    before, after = rows(content), rows("".join(parts))
    assert len(before) == len(after)
    for old, new in zip(before, after, strict=True):
        if len(old) == 10 and old[0].isdecimal():
            assert new[:6] + new[9:] == old[:6] + old[9:]
            assert new[8] == ("_" if old[8] == "_" else f"{new[6]}:{new[7]}")
        else:
            assert new == old
    assert (ending.code, ending.data["sentences"], ending.data["words"]) == (0, 4, 15)
    out = read(written(tmp_path / "out.conllu", "".join(parts)))  # each is a tree, or this would refuse it
    assert [len(sentence.forms) for sentence in out] == [1, 6, 2, 6]


def test_a_sentence_is_parsed_alike_alone_and_among_others_and_chunks_keep_their_order(model, tmp_path, monkeypatch):
    monkeypatch.setattr(command, "FIRST", 2)
    monkeypatch.setattr(command, "MOST", 4)
    monkeypatch.setattr(prediction, "TOKENS", 24)
    words = ["the", "cat", "saw", "a", "dog", "near", "that", "old", "house", "of", "hers"]
    sentences = [plain(*words[start : start + length]) for start in range(5) for length in (7, 1, 4, 2)]
    together, _ = parse(model, written(tmp_path / "all", "".join(sentences)), "precision=fp32")
    assert [part.count("\n\n") for part in together] == [2, 4, 4, 4, 4, 2]
    alone = [parse(model, written(tmp_path / "one", one), "precision=fp32")[0] for one in sentences]
    assert "".join(together) == "".join(part for parts in alone for part in parts)
    assert len(set(map(tuple, alone))) > 10, "trees that are all alike could be in any order"


def test_text_is_one_sentence_a_line(model, tmp_path):
    file = written(tmp_path / "in.txt", "\ufeffThe  cat\tsat .\n\n  \nIt purred .".encode())
    parts, ending = parse(model, file, "input=text")
    found = rows("".join(parts))
    assert found[:2] == [["# sent_id = 1"], ["# text = The cat sat ."]]
    assert [row[1] for row in found if len(row) == 10] == ["The", "cat", "sat", ".", "It", "purred", "."]
    assert found[7:9] == [["# sent_id = 2"], ["# text = It purred ."]]
    assert (ending.data["sentences"], ending.code) == (2, 0)
    assert len(read(written(tmp_path / "out", "".join(parts)))) == 2


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Hello, world (again)!", "Hello , world ( again ) !"),
        ("Don't pay $5.50...", "Don't pay $ 5.50 ..."),
        ("«Ça va?» -- U.S.-based", "« Ça va ? » -- U.S.-based"),
        ("__init__ :-) ?!", "__ init __ : - ) ? !"),
    ],
)
def test_punctuation_is_parted_and_the_text_can_be_put_together_again(model, tmp_path, text, words):
    parts, _ = parse(model, written(tmp_path / "in.txt", text + "\n"), "tokens=punctuation")
    found = [row for row in rows("".join(parts)) if len(row) == 10]
    assert [row[1] for row in found] == words.split()
    assert "".join(row[1] + " " * (row[9] == "_") for row in found).strip() == text
    assert f"# text = {text}" in parts[0]


def test_an_answer_comes_before_everything_was_read(model, monkeypatch):
    monkeypatch.setattr(command, "FIRST", 3)
    taken = []

    def endless():
        while True:
            taken.append(1)
            yield b"a cat sat\n"

    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=_Closing(endless())))
    writing = run(options("runs/a"), lambda path: model)
    assert next(writing).count("\n\n") == 3
    assert len(taken) == 3
    writing.close()


class _Closing(io.RawIOBase):
    """An iterator of lines with the rest of a file around it."""

    def __init__(self, lines) -> None:
        self.lines = lines

    def readline(self, size=-1):
        return next(self.lines)


# What cannot be parsed


def test_a_malformed_sentence_is_reported_and_the_others_are_parsed(model, tmp_path, capsys):
    file = written(tmp_path / "in", plain("one", "two") + "1\tonly\tthree\n\n" + plain("four"))
    parts, ending = parse(model, file)
    assert [row[1] for row in rows("".join(parts)) if len(row) == 10] == ["one", "two", "four"]
    first, last = capsys.readouterr().err.splitlines()
    assert first == f"headwise: {file}:4: columns parted by tabs: 3; CoNLL-U has 10"
    assert last.startswith("headwise: 2 sentences, 3 words in ")
    assert last.endswith("; 1 with a problem")
    assert ending.code == 1
    assert ending.data["problems"] == [first.removeprefix("headwise: ")]


@pytest.mark.parametrize("limit", ["encoder", "memory"])
def test_a_sentence_that_is_too_long_keeps_its_place_without_a_tree(limit, request, tmp_path, capsys, monkeypatch):
    if limit == "encoder":
        config = ParsingConfig(encoder=Pretrained(str(request.getfixturevalue("tiny_bert"))), train_sentences=20)
        reason = "254 words make 256 subwords with their marks, the encoder takes 255; split the sentence or leave"
        config_model = model_of(config)
        config_model.task.facts["encoder"]["limit"] = 255
    else:
        monkeypatch.setattr(prediction, "LONGEST", 253)
        config_model = request.getfixturevalue("model")
        reason = "254 words; a sentence may have 253, split it"
    long = KEPT.replace("\n1\t", f"\n# more\n{plain(*'a' * 254)[:-1]}1\t", 1).splitlines(keepends=True)
    long = "".join(line for line in long if line.startswith("#") or line.split("\t")[0].isdecimal())
    block = long.split("1\tNobody")[0]
    file = written(tmp_path / "in", plain("one", "two") + block + "\n" + plain("three") * 5)
    parts, ending = parse(config_model, file)
    text = "".join(parts)
    assert text.count("\n\n") == 7
    place = text.index("# sent_id = a-1")
    assert text[:place].count("\n\n") == 1
    assert f"# not_parsed = {file}:4: " in text
    unparsed = [row for row in rows(text.split("\n\n")[1]) if len(row) == 10]
    assert len(unparsed) == 254
    assert {(row[6], row[7], row[8]) for row in unparsed} == {("_", "_", "_")}
    assert all(row[6] != "_" for row in rows("".join(text.split("\n\n")[2:])) if len(row) == 10)
    assert reason in capsys.readouterr().err
    assert (ending.code, ending.data["sentences"], len(ending.data["problems"])) == (1, 6, 1)


def test_bytes_that_are_no_text_end_it_behind_what_was_good(model, tmp_path):
    file = written(tmp_path / "in", "à la carte\n".encode() + b"caf\xe9\nnever read\n")
    writing = run(options("runs/a", str(file)), lambda path: model)
    assert "carte" in next(writing)
    with pytest.raises(InputError) as caught:
        next(writing)
    assert str(caught.value) == f"{file}:2: byte 15 (0xe9) is not UTF-8"


@pytest.mark.parametrize("content", ["", "\n \n", "\ufeff"])
def test_an_empty_input_is_said(model, tmp_path, content):
    with pytest.raises(InputError, match="empty; expected sentences"):
        parse(model, written(tmp_path / "in", content))


# Scores


def test_scores_are_those_of_the_file_that_was_written(model, tmp_path, capsys):
    gold = written(tmp_path / "gold", (KEPT + plain("a", "b", "c", head="1")) * 3)
    parts, ending = parse(model, gold, "score=true")
    scores = corpus_scores(read(gold), read(written(tmp_path / "out", "".join(parts))))
    assert ending.data["scores"] == scores
    assert f"UAS {100 * scores['UAS']:.2f}, LAS {100 * scores['LAS']:.2f}" in capsys.readouterr().err


def test_sentences_without_heads_are_parsed_and_not_scored_and_a_bad_tree_is_said(model, tmp_path, capsys):
    circle = plain("a", "b", head="1").replace("1\ta\t_\t_\t_\t_\t0", "1\ta\t_\t_\t_\t_\t2")
    file = written(tmp_path / "in", plain("no", "heads") + circle + plain("a", "b", head="1"))
    parts, ending = parse(model, file, "score=true")
    assert len(read(written(tmp_path / "out", "".join(parts)))) == 3
    assert ending.data["scores"]["sentences"] == 1
    assert ending.code == 1
    (problem,) = ending.data["problems"]
    assert problem == f"{file}:4: no root; a tree has one word with head 0"
    assert "over the 1 sentences with heads" in capsys.readouterr().err
    _, ending = parse(model, written(tmp_path / "in", plain("no", "heads")), "score=true")
    assert (ending.code, ending.data["scores"]) == (0, {})


# Speed


def test_bf16_is_for_encoder_and_blocks_and_not_for_the_scorer(model, monkeypatch):
    seen = {}

    def keep(name):
        def hook(module, given, result):
            seen[name] = result.dtype

        return hook

    hooks = [
        model.task.entry.projection.register_forward_hook(keep("entry")),
        model.task.biaffine.arcs.dependent[0].register_forward_hook(keep("scorer")),
    ]
    sentence = Sentence(("a", "cat"), (), (), "x:1")
    for precision, kind in (("bf16", torch.bfloat16), ("fp32", torch.float32)):
        seen.clear()
        prediction.Parser(model, precision)([sentence])
        assert seen == {"entry": kind, "scorer": torch.float32}
    for fast in (True, False):
        monkeypatch.setattr(prediction, "fast_bf16", lambda fast=fast: fast)
        parser = prediction.Parser(model)
        assert parser.precision == (None if fast else "fp32")
        parser([sentence])
        assert (parser.choice is not None) is fast
        assert parser.precision == (parser.choice.precision if parser.choice else "fp32")
    for hook in hooks:
        hook.remove()


def test_parsing_leaves_torchs_threads_as_they_were(model, monkeypatch):
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        sentences = [Sentence(("a",) * length, (), (), "x:1") for length in range(1, 40)]
        monkeypatch.setattr(prediction, "TOKENS", 64)
        found = prediction.Parser(model)(sentences)
        assert [len(tree.heads) for tree in found] == list(range(1, 40))
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


# Mistakes


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "parse: which run? write headwise parse"),
        (["--tokens"], "--tokens: unknown option (see headwise parse --help)"),
        (["runs/a", "nowhere.conllu"], "nowhere.conllu: not found"),
        (["runs/a", "inptu=text"], "parse inptu=text: unknown key; allowed in parse: input, tokens, precision, score"),
        (["runs/a", "input=xml"], "input=xml: choose one of"),
        (["runs/a", "score=maybe"], "score=maybe: expected true or false"),
        (
            ["runs/a", "input=text", "nowhere.txt", "other.txt"],
            "parse other.txt: a word too many; write",
        ),
    ],
)
def test_the_command_says_what_is_wrong_before_it_loads_anything(words, message):
    def load(path: str) -> TaskModel:
        raise AssertionError("nothing to load")

    with pytest.raises(InputError) as caught:
        run(options(*words), load)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    ("content", "setting", "message"),
    [(KEPT, "tokens=punctuation", "has no effect on CoNLL-U"), ("a b\n", "score=true", "is text, which has no heads")],
)
def test_a_setting_that_does_not_fit_the_input_is_refused(model, tmp_path, content, setting, message):
    with pytest.raises(InputError, match=message):
        parse(model, written(tmp_path / "in", content), setting)


def test_a_run_of_another_task_is_refused():
    other = TaskModel(SortingTask(SortingConfig(), {}, SHAPE.width), Backbone(SHAPE, Arm()))
    with pytest.raises(InputError, match="runs/a: a model of the task sorting; parse needs one of parsing"):
        run(options("runs/a", __file__), lambda path: other)


def test_a_file_with_an_equals_sign_is_named_by_its_path(model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    written(tmp_path / "a=b", "a cat\n")
    writing = run(options("runs/a", "./a=b"), lambda path: model)
    assert "cat" in next(writing)
    writing.close()
    with pytest.raises(InputError, match="cannot be read"):
        parse(model, tmp_path)
    with pytest.raises(InputError, match=r"parse a=b: unknown key"):
        run(options("runs/a", "a=b"), lambda path: model)


def test_what_is_said_of_it_is_plain_json(model, tmp_path):
    _, ending = parse(model, written(tmp_path / "in", KEPT), "score=true")
    assert json.loads(json.dumps(ending.data)) == ending.data


# What is no file


def test_a_pipe_that_nobody_writes_to_is_empty_and_not_waited_for(model, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError, match=r"pipe: empty; expected sentences"):
        parse(model, tmp_path / "pipe")


def test_what_another_program_writes_is_parsed(model):
    """As in `headwise parse run <(zcat file)`."""
    reader, writer = os.pipe()
    with os.fdopen(writer, "wb") as out:
        out.write(plain("one", "two").encode())
    parts, ending = parse(model, Path(f"/dev/fd/{reader}"))
    os.close(reader)
    assert ending.data["sentences"] == 1
    assert "".join(parts).count("\t") == 18


@pytest.mark.parametrize("place", ["/dev/zero", "folder"])
def test_a_device_or_a_folder_is_one_line(model, tmp_path, place):
    place = Path(place) if place.startswith("/") else tmp_path
    with pytest.raises(InputError, match=r"byte 0 is 0; expected text|cannot be read \(Is a directory\)"):
        parse(model, place)
