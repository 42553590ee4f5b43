"""Words to subwords: every family of tokenizers reads a word given by itself as it stands in running text.

What is right is asked of the tokenizers library: the joined text, each piece given to the word that its place is in.
"""

import pytest
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers

from headwise.errors import InputError
from headwise.tasks.parsing.sentences import Sentence
from headwise.tasks.parsing.subwords import Subwords, before_words
from tests.tasks.parsing import tiny_encoders
from tests.tasks.parsing.tiny_encoders import TEXTS
from tests.tasks.parsing.tiny_encoders import t as transformers

GPT4 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s+(?!\S)|\s+"
SENTENCES = [
    "the dog saw a cat .",
    "world dog cat",
    "do n't say it 's `` odd '' ...",
    "( 1984 ) U.S.-made 3,000 € 5-year-old",
    "Grüße, naïve café Ünïcödé ÅNGSTRÖM",
    "رأى הכלב 日本語 を 😀 👩‍👩‍👧 x",
    "&amp; <!-- a@b.org http://x.y/z?q=1 --",
    ". , ; !",
]


def unigram(pre_tokenizer: pre_tokenizers.PreTokenizer, normalizer: normalizers.Normalizer | None = None) -> Tokenizer:
    """SentencePiece's kind."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizer
    if normalizer is not None:
        tokenizer.normalizer = normalizer
    trainer = trainers.UnigramTrainer(
        vocab_size=120, show_progress=False, special_tokens=["<unk>", "<pad>"], unk_token="<unk>"
    )
    tokenizer.train_from_iterator(TEXTS, trainer)
    return tokenizer


def with_prefix() -> Tokenizer:
    """The same vocabulary, told to put a space in front of what has none."""
    tokenizer = Tokenizer.from_str(tiny_encoders.byte_level().to_str())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    return tokenizer


def gpt4() -> Tokenizer:
    """Parted by an expression of its own first, as in Llama 3 and Qwen."""
    tokenizer = Tokenizer.from_str(tiny_encoders.byte_level().to_str())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(GPT4), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    return tokenizer


def llama2() -> Tokenizer:
    """A mark in place of each space and one in front, by the normaliser alone."""
    tokenizer = unigram(pre_tokenizers.Metaspace())
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.pre_tokenizer = pre_tokenizers.Split("▁", "merged_with_next")
    return tokenizer


def gemma() -> Tokenizer:
    """A mark in place of each space, none in front."""
    tokenizer = unigram(pre_tokenizers.Metaspace())
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    tokenizer.pre_tokenizer = pre_tokenizers.Split("▁", "merged_with_next")
    return tokenizer


def clip() -> Tokenizer:
    """Ends of words marked, not their beginnings."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", end_of_word_suffix="</w>"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    trainer = trainers.BpeTrainer(
        vocab_size=120, show_progress=False, special_tokens=["<unk>"], end_of_word_suffix="</w>"
    )
    tokenizer.train_from_iterator(TEXTS, trainer)
    return tokenizer


FAMILIES = {
    "byte_level": (tiny_encoders.byte_level, " "),
    "byte_level_with_prefix": (with_prefix, ""),
    "gpt4": (gpt4, " "),
    "wordpiece": (tiny_encoders.wordpiece, ""),
    "metaspace_always": (lambda: unigram(pre_tokenizers.Metaspace(prepend_scheme="always")), ""),
    "metaspace_first": (lambda: unigram(pre_tokenizers.Metaspace(prepend_scheme="first")), ""),
    "metaspace_never": (lambda: unigram(pre_tokenizers.Metaspace(prepend_scheme="never")), " "),
    "xlm_roberta": (
        lambda: unigram(
            pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()]), normalizers.NFKC()
        ),
        "",
    ),
    "llama2": (llama2, ""),
    "gemma": (gemma, " "),
    "clip": (clip, ""),
}


def in_running_text(tokenizer: Tokenizer, words: list[str]) -> list[list[int]]:
    """The pieces of each word. A word in front, left out again, puts the space before the first."""
    text, ends = "the", []
    for word in words:
        text += " " + word
        ends.append(len(text))
    encoding = tokenizer.encode(text, add_special_tokens=False)
    found: list[list[int]] = [[] for _ in words]
    for number, (start, end) in zip(encoding.ids, encoding.offsets, strict=True):
        if end > len("the"):
            found[next(i for i, last in enumerate(ends) if max(start, end - 1) < last)].append(number)
    return found


def as_read(tokenizer: Tokenizer, words: list[str]) -> list[list[int]]:
    facts = {"tokenizer": tokenizer.to_str(), "limit": None, "rows": 10**6, "padding": 0}
    columns = Subwords(facts)([Sentence(tuple(words), (), (), "text:1")])
    found: list[list[int]] = [[] for _ in words]
    for number, word in zip(columns.ids.values.tolist(), columns.words.values.tolist(), strict=True):
        if word:
            found[word - 1].append(number)
    return found


@pytest.mark.parametrize("family", FAMILIES)
def test_a_word_by_itself_is_read_as_in_running_text(family):
    make, before = FAMILIES[family]
    tokenizer = make()
    assert before_words(tokenizer) == before
    for text in SENTENCES:
        words = text.split()
        assert as_read(tokenizer, words) == in_running_text(tokenizer, words), text


def test_roberta_reads_words_as_transformers_does_when_it_is_told_to_put_a_space_in_front():
    library = transformers.PreTrainedTokenizerFast(tokenizer_object=with_prefix(), add_prefix_space=True)
    words = ["the", "dog", "saw", "the", "walker"]
    read = [number for pieces in as_read(tiny_encoders.byte_level(), words) for number in pieces]
    assert library.convert_ids_to_tokens(read)[:2] == ["Ġthe", "Ġdog"]
    assert read == library(words, is_split_into_words=True).input_ids[1:-1]


def test_words_with_a_space_in_them_stay_one_word():
    """Universal Dependencies has numbers such as 10 000."""
    for make, _ in FAMILIES.values():
        columns = Subwords({"tokenizer": make().to_str(), "limit": None, "rows": 10**6, "padding": 0})(
            [Sentence(("a", "10 000", "dog"), (), (), "text:1")]
        )
        assert set(columns.words.values.tolist()) - {0} == {1, 2, 3}


def test_a_tokenizer_that_reads_across_words_is_refused():
    tokenizer = Tokenizer(models.WordLevel({"the old dog saw a cat": 0, "<unk>": 1}, unk_token="<unk>"))
    with pytest.raises(ValueError, match="does not part a text at words"):
        before_words(tokenizer)


def test_a_subword_without_a_vector_is_refused_with_its_place():
    facts = {"tokenizer": tiny_encoders.wordpiece().to_str(), "limit": None, "rows": 10, "padding": 0}
    with pytest.raises(InputError, match=r"text:1: the tokenizer makes number \d+ of a word, .* vectors for 0\.\.9;"):
        Subwords(facts)([Sentence(("walker",), (), (), "text:1")])
