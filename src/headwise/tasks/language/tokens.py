"""Text to token ids and back, with the tokenizers library: words, characters, or byte-level BPE.

A tokenizer becomes one JSON string that goes with the weights, so that a saved model reads and writes text by itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

from headwise.errors import InputError
from headwise.tasks.language.config import TokenizerKind

MOST_WORDS = 2**16
"""A larger vocabulary of words would be nearly the whole model."""

_PUNCTUATION = r"[!-/:-@\[-`{-~]"  # ASCII, as the reference splits it; other signs stay with their word
_LONGEST_WORD = 256  # bytes of which BPE makes tokens together: training takes time in its square
_SHOWN = 5  # unknown words named in a message


@dataclass(frozen=True)
class Encoded:
    """A text in tokens.

    Attributes:
        ids: one per token.
        characters: how many characters of the text each token stands for: those from the end of the token before it to
            its own end. White space that a word tokenizer drops counts with the word after it; of a character that BPE
            cuts in two, the first part counts. They add up to the text, but for white space at its end.
    """

    ids: list[int]
    characters: list[int]


class TextTokenizer:
    """A tokenizer of the tokenizers library and the kind it is of.

    Args:
        kind: `word`, `character` or `bpe`.
        tokenizer: as `fit` makes it.
    """

    def __init__(self, kind: TokenizerKind, tokenizer: Tokenizer) -> None:
        self.kind, self.tokenizer = kind, tokenizer
        self.vocabulary: dict[str, int] = tokenizer.get_vocab()

    def __len__(self) -> int:
        return len(self.vocabulary)

    @classmethod
    def fit(cls, kind: TokenizerKind, texts: Sequence[str], vocabulary: int) -> TextTokenizer:
        """The tokenizer for `texts`: all their words or characters, or `vocabulary` tokens of BPE trained on them.

        Raises:
            InputError: too many different words.
        """
        if kind == "bpe":
            tokenizer = Tokenizer(models.BPE())
            bounded = pre_tokenizers.Split(Regex(rf"[\s\S]{{1,{_LONGEST_WORD}}}"), "isolated")
            byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False)
            tokenizer.pre_tokenizer = pre_tokenizers.Sequence([byte_level, bounded])
            tokenizer.decoder = decoders.ByteLevel()
            alphabet = pre_tokenizers.ByteLevel.alphabet()
            trainer = trainers.BpeTrainer(vocab_size=vocabulary, initial_alphabet=alphabet, show_progress=False)
            tokenizer.train_from_iterator(texts, trainer)
            return cls(kind, tokenizer)
        split = _words() if kind == "word" else _characters()
        known = sorted({piece for text in texts for piece in _pieces(kind, split, text)})
        if kind == "word" and len(known) > MOST_WORDS:
            raise InputError(
                f"task.tokenizer=word: the corpus has {len(known):,} different words, at most {MOST_WORDS:,} are "
                "allowed; use task.tokenizer=bpe"
            )
        tokenizer = Tokenizer(models.WordLevel({piece: i for i, piece in enumerate(known)}))
        tokenizer.pre_tokenizer = split
        if kind == "character":
            tokenizer.decoder = decoders.Fuse()  # without a decoder tokens are joined by spaces
        return cls(kind, tokenizer)

    @classmethod
    def from_json(cls, kind: TokenizerKind, text: str) -> TextTokenizer:
        """The reverse of `to_json`."""
        return cls(kind, Tokenizer.from_str(text))

    def to_json(self) -> str:
        """Everything that `from_json` needs: a file of the tokenizers library."""
        return self.tokenizer.to_str()

    def encode(self, text: str, where: str) -> Encoded:
        """The tokens of `text`; `where` says in a message whose text it is.

        Raises:
            InputError: words or characters that the vocabulary does not have.
        """
        if self.kind == "character":  # a look-up is what the library does, too, thirty times slower
            self._require(text, where)
            return Encoded([self.vocabulary[character] for character in text], [1] * len(text))
        if self.kind == "word":
            pieces = self.tokenizer.pre_tokenizer.pre_tokenize_str(text)
            self._require((piece for piece, _ in pieces), where)
            return Encoded([self.vocabulary[piece] for piece, _ in pieces], _steps(end for _, (_, end) in pieces))
        encoded = self.tokenizer.encode(text)
        return Encoded(encoded.ids, _steps(end for _, end in encoded.offsets))

    def decode(self, ids: Sequence[int]) -> str:
        """The text of token ids: exact for characters and BPE; words are parted by single spaces."""
        return self.tokenizer.decode(list(ids))

    def _require(self, pieces: Iterable[str], where: str) -> None:
        unknown = [piece for piece in dict.fromkeys(pieces) if piece not in self.vocabulary]
        if unknown:
            shown = ", ".join(repr(piece) for piece in unknown[:_SHOWN])
            more = f" and {len(unknown) - _SHOWN} more" if len(unknown) > _SHOWN else ""
            raise InputError(f"{where}: unknown {self.kind}s {shown}{more}; the model knows {len(self):,} {self.kind}s")


def _words() -> pre_tokenizers.PreTokenizer:
    split = pre_tokenizers.Split(Regex(_PUNCTUATION), "isolated")
    return pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), split])


def _characters() -> pre_tokenizers.PreTokenizer:
    return pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")


def _pieces(kind: TokenizerKind, split: pre_tokenizers.PreTokenizer, text: str) -> Iterable[str]:
    return text if kind == "character" else (piece for piece, _ in split.pre_tokenize_str(text))


def _steps(ends: Iterable[int]) -> list[int]:
    """Differences between successive ends, the first from 0."""
    steps, before = [], 0
    for end in ends:
        steps.append(max(0, end - before))
        before = max(before, end)
    return steps
