"""Tokenizers: what goes in comes out, every character is counted once, and the library agrees."""

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headwise.errors import InputError
from headwise.tasks.language import tokens
from headwise.tasks.language.tokens import TextTokenizer

KINDS = ("word", "character", "bpe")
TEXT = "User: What's rain?  It falls – naïve, 日本 & 2² = 4.\nAssistant: Yes </s> \t it_does!"


def tokenizer_of(kind: str, text: str = TEXT, vocabulary: int = 300) -> TextTokenizer:
    return TextTokenizer.fit(kind, [text], vocabulary)


@pytest.mark.parametrize("kind", ["character", "bpe"])
def test_characters_and_bpe_give_the_text_back(kind):
    tokenizer = tokenizer_of(kind)
    assert tokenizer.decode(tokenizer.encode(TEXT, "text").ids) == TEXT


@settings(max_examples=50, deadline=None)
@given(st.text(st.characters(codec="utf-8"), max_size=40))
def test_bpe_gives_any_text_back_and_counts_each_character_once(text):
    encoded = BPE.encode(text, "text")
    assert BPE.decode(encoded.ids) == text
    assert sum(encoded.characters) == len(text)


BPE = tokenizer_of("bpe")


def test_words_part_at_white_space_and_ascii_punctuation():
    tokenizer = tokenizer_of("word")
    written = tokenizer.decode(tokenizer.encode(TEXT, "text").ids)
    assert written == ("User : What ' s rain ? It falls – naïve , 日本 & 2² = 4 . Assistant : Yes < / s > it _ does !")
    assert tokenizer.encode(written, "text").ids == tokenizer.encode(TEXT, "text").ids


@pytest.mark.parametrize("kind", KINDS)
def test_a_saved_tokenizer_is_the_same(kind):
    tokenizer = tokenizer_of(kind)
    again = TextTokenizer.from_json(kind, tokenizer.to_json())
    assert again.encode(TEXT, "text") == tokenizer.encode(TEXT, "text")
    ids = tokenizer.encode(TEXT, "text").ids
    assert again.decode(ids) == tokenizer.decode(ids)
    assert tokenizer_of(kind).to_json() == tokenizer.to_json(), "fitting twice gives the same"


@pytest.mark.parametrize("kind", KINDS)
def test_the_library_gives_the_same_ids(kind):
    """Words and characters are looked up without it."""
    tokenizer = tokenizer_of(kind)
    assert tokenizer.encode(TEXT, "text").ids == tokenizer.tokenizer.encode(TEXT).ids


@pytest.mark.parametrize("kind", KINDS)
def test_every_character_counts_once(kind):
    encoded = tokenizer_of(kind).encode(TEXT, "text")
    assert len(encoded.ids) == len(encoded.characters)
    assert sum(encoded.characters) == len(TEXT)
    assert min(encoded.characters) >= (0 if kind == "bpe" else 1)


def test_the_first_part_of_a_cut_character_counts():
    encoded = BPE.encode("語語", "text")
    assert encoded.characters == [1, 0, 0, 1, 0, 0]


def test_the_vocabulary_is_what_the_text_has():
    assert len(tokenizer_of("character", "hello")) == 4
    assert len(tokenizer_of("word", "to be, or not to be")) == 5
    assert len(tokenizer_of("bpe", "ab" * 50, vocabulary=258)) == 258


def test_unknown_words_and_characters_are_named():
    with pytest.raises(InputError, match=r"prompt: unknown words 'zebra', 'gnu'; the model knows 2 words"):
        tokenizer_of("word", "the lion").encode("the zebra the gnu zebra", "prompt")
    with pytest.raises(InputError, match=r"prompt: unknown characters 'a', 'b', 'c', 'd', 'e' and 1 more"):
        tokenizer_of("character", "xyz").encode("abcdefx", "prompt")


def test_too_many_words_are_refused(monkeypatch):
    monkeypatch.setattr(tokens, "MOST_WORDS", 3)
    with pytest.raises(InputError, match=r"4 different words, at most 3 are allowed; use task.tokenizer=bpe"):
        tokenizer_of("word", "a b c d")


def test_no_text_can_spell_the_end_of_a_record():
    """`</s>` inside a text is three signs and a letter; the end is a token that the tokenizer does not have."""
    for kind in KINDS:
        tokenizer = tokenizer_of(kind)
        assert max(tokenizer.encode("</s>", "text").ids) < len(tokenizer)


def test_bpe_reads_a_text_without_spaces_in_time_that_grows_with_its_length():
    """Half a million equal signs, as separators and damaged files have them, took the library minutes."""
    began = time.process_time()
    text = "[" * 500_000
    tokenizer = tokenizer_of("bpe", text, vocabulary=512)
    encoded = tokenizer.encode(text, "text")
    assert tokenizer.decode(encoded.ids) == text
    assert sum(encoded.characters) == len(text)
    assert time.process_time() - began < 10
