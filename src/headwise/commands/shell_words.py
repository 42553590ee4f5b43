"""A command line of a shell up to the cursor: its words, and what the shell replaces when one is completed.

A shell hands over a line that is not finished: a quote may be open, and bash parts words at `=` and `:`, too, so that
of `arm.gate=to` it replaces only `to`. What comes after the `=` is then all that may be given back.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

BREAKS = " \t\n\"'><=;|&(:"
"""Characters at which bash parts words in completion, as it sets COMP_WORDBREAKS itself."""
_PLAIN = re.compile(r"[\w.,/=:@%+-]", re.ASCII)


@dataclass(frozen=True)
class Line:
    """A line up to the cursor.

    Attributes:
        words: those that are finished, without their quotes.
        current: the word at the cursor as far as it goes, without quotes; empty behind a space.
        quote: the quote that is open there; empty if none is.
        kept: characters of `current` that the shell leaves alone: what it replaces begins behind them.
    """

    words: tuple[str, ...]
    current: str
    quote: str = ""
    kept: int = 0

    def replacement(self, word: str, ends: bool) -> str:
        """What bash is to put in the place of what it replaces, so that the word at the cursor becomes `word`.

        Args:
            word: begins with `current`.
            ends: whether nothing more belongs to it; a space follows then, unless a quote is closed first.
        """
        rest = word[self.kept :]
        if self.quote == "'":
            return rest.replace("'", "'\\''")
        if self.quote:
            return re.sub(r'([$`"\\])', r"\\\1", rest)
        home = "~" if self.kept == 0 and rest.startswith("~") else ""
        escaped = "".join(c if _PLAIN.match(c) or ord(c) > 127 else f"\\{c}" for c in rest[len(home) :])
        return home + escaped + " " * ends


def read_line(text: str, breaks: str = BREAKS) -> Line:
    """The words of a line that ends at the cursor, as the shell would part them.

    Args:
        text: of the line.
        breaks: characters at which the shell parts the word that it replaces; empty where it replaces words whole.
    """
    words: list[str] = []
    current: list[str] | None = None
    quote, kept = "", 0
    characters = iter(text)
    for character in characters:
        if quote:
            if character == quote:
                quote = ""
            else:
                current = [*(current or []), _escaped(character, characters, quote)]
        elif character.isspace():
            words += [] if current is None else ["".join(current)]
            current, kept = None, 0
        elif character in "'\"":
            quote = character
            current = current or []
            kept = len(current)
        elif character == "\\":
            current = [*(current or []), next(characters, "")]
        else:
            current = [*(current or []), character]
            kept = len(current) if character in breaks else kept
    return Line(tuple(words), "".join(current or []), quote, kept)


def _escaped(character: str, following: Iterator[str], quote: str) -> str:
    """A character between quotes; a backslash between double ones takes what it protects with it."""
    if quote == "'" or character != "\\":
        return character
    after = next(following, "")
    return after if after in '$`"\\' else character + after
