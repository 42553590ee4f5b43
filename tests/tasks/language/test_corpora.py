"""Corpora: what is read, how it is split, and one clear line for what cannot be."""

import json
import os
from pathlib import Path

import pytest

from headwise.errors import InputError
from headwise.tasks.language import LanguageConfig, LanguageData
from headwise.tasks.language.corpora import Corpus, Record, as_record, load, pretraining
from headwise.tasks.language.data import divide, texts_of
from headwise.tasks.language.grammar import PHRASINGS, THINGS, VALUES, generate

SPLITS = ("train", "validation", "test")


def corpus_of(path: Path, **settings) -> Corpus:
    return load(LanguageConfig(corpus=str(path), **settings))


def write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


# Reading


def test_a_text_file_is_one_running_text_whatever_its_line_ends(tmp_path):
    assert corpus_of(write(tmp_path / "a.txt", b"\xef\xbb\xbfone\r\ntwo\n")).text == "one\ntwo\n"


def test_a_folder_is_its_files_in_the_order_of_their_names(tmp_path):
    (tmp_path / "deeper").mkdir()
    write(tmp_path / "b.txt", "second")
    write(tmp_path / "a.txt", "first")
    write(tmp_path / "deeper" / "c.txt", "third")
    write(tmp_path / "notes.md", "not read")
    assert corpus_of(tmp_path).text == "first\nsecond\nthird"


@pytest.mark.parametrize("suffix", [".json", ".jsonl"])
def test_records_are_strings_texts_or_prompts_with_responses(tmp_path, suffix):
    values = ["Snow is cold </s>", {"text": "Salt dissolves"}, {"prompt": "User: Hi!", "response": "Hello."}]
    text = json.dumps(values) if suffix == ".json" else "\n\n".join(map(json.dumps, values)) + "\n"
    records = corpus_of(write(tmp_path / f"a{suffix}", text)).records
    parts = [(record.prompt, record.response) for record in records]
    assert parts == [("", "Snow is cold"), ("", "Salt dissolves"), ("User: Hi!", " Hello.")]


def test_a_string_with_the_marker_is_a_prompt_and_its_response():
    record = as_record("User: What is rain? Assistant: Water </s>", "Assistant:", "here")
    assert (record.prompt, record.response) == ("User: What is rain?", " Assistant: Water")
    assert as_record("Assistant: Hello", "Assistant:", "here").prompt == ""
    assert as_record("User: a Assistant: b", "Bot:", "here").prompt == ""


# Bad input


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", b"", "a.txt: empty; expected text"),
        ("a.txt", b" \n", "a.txt: empty; expected text"),
        ("a.txt", b"good \xe9 bad", "a.txt: not UTF-8 (byte 5); save it as UTF-8"),
        ("a.json", b'["caf\xe9"]', "a.json: not UTF-8 (byte 5); save it as UTF-8"),
        ("a.json", b"", "a.json: empty; expected records"),
        ("a.json", b"[]", "a.json: empty; expected records"),
        ("a.json", b'["one",\n "two"', "a.json: not JSON (Expecting ',' delimiter at line 2, column 7)"),
        ("a.json", b'{"prompt": "a"}', "a.json: expected a list of records, found an object"),
        ("a.json", b'["one", ""]', "a.json, record 2: no text; expected a string"),
        ("a.json", b'["one", " </s>"]', "a.json, record 2: no text; expected a string"),
        ("a.json", b'["one", 7]', "a.json, record 2: a number holds no text"),
        ("a.json", b"[" * 10**5, "a.json: JSON that holds no text"),
        ("a.json", b'["\\ud800"]', "a.json, record 1: half of a surrogate pair is no character"),
        ("a.jsonl", b'"one"\n\n{"prompt": "a"}\n', "a.jsonl, record 2: no text in response"),
        ("a.jsonl", b'{"prompt": 3, "response": "b"}', "a.jsonl, record 1: no text in prompt"),
        ("a.jsonl", b'"one"\n{"text": }\n', "a.jsonl, line 2: not JSON (Expecting value at column 10)"),
        ("a.csv", b"one", "a.csv: not a corpus; expected a file that ends in .txt, .json, .jsonl"),
    ],
)
def test_a_file_that_cannot_be_read_is_named_with_the_place(tmp_path, name, content, message):
    with pytest.raises(InputError) as caught:
        corpus_of(write(tmp_path / name, content))
    assert f"{tmp_path}/{message}" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_corpus_is_named_with_what_there_is(tmp_path, monkeypatch):
    with pytest.raises(InputError, match=r"task.corpus=nowhere: no such file or folder; .*facts_and_chat"):
        load(LanguageConfig(corpus="nowhere"))
    with pytest.raises(InputError, match=r"task.pretraining=nowhere: no such file or folder"):
        pretraining(LanguageConfig(pretraining="nowhere"))
    monkeypatch.delenv("HEADWISE_DATA", raising=False)
    with pytest.raises(InputError, match=r"task.corpus=tinyshakespeare: where is .*input.txt\? set HEADWISE_DATA"):
        load(LanguageConfig(corpus="tinyshakespeare"))
    with pytest.raises(InputError, match=r"input.txt does not exist; set HEADWISE_DATA or task.root"):
        load(LanguageConfig(corpus="tinyshakespeare", root=str(tmp_path)))


@pytest.mark.parametrize("name", ["a.txt", "a.json", "a.jsonl"])
def test_a_pipe_or_another_encoding_is_one_line(tmp_path, name):
    (tmp_path / "wide").mkdir()
    for content in ('["one", "two"]'.encode("utf-16"), '["one", "two"]'.encode("utf-16-le")):
        (tmp_path / "wide" / name).write_bytes(content)
        with pytest.raises(InputError, match=rf"{name}: no text in UTF-8 \(byte \d is 0\); save it as UTF-8"):
            corpus_of(tmp_path / "wide" / name)
    os.mkfifo(tmp_path / name)
    with pytest.raises(InputError, match=rf"{name}: not a regular file"):
        corpus_of(tmp_path / name)


def test_a_folder_of_nothing_or_of_two_kinds_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"holds no file that ends in \.txt"):
        corpus_of(tmp_path)
    write(tmp_path / "a.txt", "text")
    write(tmp_path / "b.json", '["record"]')
    with pytest.raises(InputError, match=r"running text \(a.txt\) and records \(b.json\)"):
        corpus_of(tmp_path)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"context": 1}, "task.context=1: choose at least 2"),
        ({"tokenizer": "bpe", "vocabulary": 100}, "task.vocabulary=100: choose at least 256"),
        ({"corpus": "a.txt", "held_out": 1.0}, "task.held_out=1.0: choose a share"),
        ({"held_out": 0.5}, "the synthetic corpus holds out one phrasing"),
        ({"pretraining_epochs": -1}, "task.pretraining_epochs=-1: choose 0 or more"),
        ({"pretraining_batch_size": 0}, "task.pretraining_batch_size=0: choose 1 or more"),
    ],
)
def test_settings_out_of_range_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        LanguageConfig(**settings)


def test_a_text_shorter_than_one_block_is_refused(tmp_path):
    file = write(tmp_path / "a.txt", "abc" * 100)
    with pytest.raises(
        InputError, match=r"the validation part has 15 tokens, but one block takes 17 \(task.context=16"
    ):
        LanguageData(LanguageConfig(corpus=str(file), tokenizer="character", context=16), seed=0)
    LanguageData(LanguageConfig(corpus=str(file), tokenizer="character", context=14), seed=0)


def test_a_record_longer_than_the_context_is_refused(tmp_path):
    file = write(tmp_path / "a.json", json.dumps(["one two", "one two three four"]))
    settings = {"corpus": str(file), "held_out": 0.0}
    with pytest.raises(InputError, match=r"a.json, record 2: 4 tokens, but task.context=3; choose task.context=4"):
        LanguageData(LanguageConfig(context=3, **settings), seed=0)
    assert LanguageData(LanguageConfig(context=4, **settings), seed=0).facts["context"] == 4


# Splits


def test_the_end_of_a_text_is_held_out_and_halved():
    parts = divide(Corpus("a", text="0123456789" * 2), 0.2, seed=0)
    assert (parts.train, parts.validation, parts.test) == ("0123456789012345", "67", "89")


def test_held_out_records_are_drawn_by_the_seed_and_equal_ones_stay_together():
    records = [Record("", f"text {i % 40}", f"record {i}") for i in range(100)]
    parts = divide(Corpus("a", records=records), 0.1, seed=0)
    texts = [set(texts_of(getattr(parts, name))) for name in SPLITS]
    assert [len(part) for part in texts] == [36, 2, 2]
    assert sum(len(getattr(parts, name)) for name in SPLITS) == 100
    assert not texts[0] & texts[1]
    assert not texts[0] & texts[2]
    assert divide(Corpus("a", records=records), 0.1, seed=0) == parts
    assert divide(Corpus("a", records=records), 0.1, seed=1) != parts


def test_too_few_records_to_hold_some_out_are_refused():
    records = [Record("", f"text {i}", f"record {i}") for i in range(10)]
    with pytest.raises(InputError, match=r"takes 1 of the 10 different records of a; .*use held_out=0"):
        divide(Corpus("a", records=records), 0.1, seed=0)
    assert divide(Corpus("a", records=records), 0.0, seed=0).test == records


def test_the_grammar_asks_every_fact_in_every_phrasing_once():
    splits = generate(seed=0)
    sentences = [sentence for split in splits.values() for sentence in split]
    facts = len(THINGS) * len(VALUES)
    assert len(set(sentences)) == len(sentences) == facts * len(PHRASINGS)
    assert [len(splits[name]) for name in SPLITS] == [4 * facts, facts, facts]
    answers = {name: {sentence.partition("Assistant:")[2] for sentence in splits[name]} for name in SPLITS}
    assert answers["test"] == answers["train"], "what is asked in the test was told in training"
    assert len(answers["train"]) == facts
    assert generate(seed=1) != splits
    assert generate(seed=0) == splits
