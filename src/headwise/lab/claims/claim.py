"""A claim, as its file states it: what was published, what it takes to believe it, and the commands that test it."""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headwise.errors import InputError
from headwise.files import read_mapping, read_yaml, user_path
from headwise.lab import shapes
from headwise.lab.claims.rules import RULES, Rule
from headwise.lab.matching import mismatch
from headwise.schema import build, short, suggestion

BOOK = Path(__file__).parents[2] / "conf" / "claims"
ENDING = ".yaml"


@dataclass(frozen=True)
class Command:
    """What is run for a claim.

    Args:
        run: the words behind `headwise`, as they are typed; `{folder}` stands for the directory of the claim's results,
            `{here}` for that of its file.
        quick: words that are added in the quick form, which tries whether the command works.
    """

    run: str
    quick: str = ""

    def __post_init__(self) -> None:
        for key, text in (("run", self.run), ("quick", self.quick)):
            try:
                shlex.split(text)
            except ValueError as error:
                raise ValueError(f"{key}={short(text)}: {error}") from None

    def words(self, folder: Path, here: Path, quick: bool) -> list[str]:
        """The words behind `headwise`, in this directory of results."""
        text = f"{self.run} {self.quick}" if quick else self.run
        places = {"{folder}": str(folder), "{here}": str(here)}
        words = shlex.split(text)
        for place, path in places.items():
            words = [word.replace(place, path) for word in words]
        return words


@dataclass(frozen=True)
class Claim:
    """A published statement and its test.

    Args:
        title: the claim in a few words.
        source: who states it, and where.
        says: the claim in numbers.
        needed: what it takes to believe it.
        minutes: of two cores that its commands take.
        commands: what is run, by names of its own.
        rules: what the results must show; the claim holds where they show all of it.
        finding: what else was found, for the page.
    """

    title: str
    source: str
    says: str
    needed: str
    minutes: float
    commands: dict[str, Command]
    rules: tuple[Any, ...]
    finding: str = ""

    def __post_init__(self) -> None:
        if not self.commands:
            raise ValueError("commands: none; name one or more")
        if not self.rules:
            raise ValueError("rules: none; give one or more, by which the claim is judged")
        rules = tuple(_rule(plain, f"rules[{place}]") for place, plain in enumerate(self.rules))
        object.__setattr__(self, "rules", rules)
        for place, rule in enumerate(rules):
            for name in rule.reads:
                if name not in self.commands:
                    known = ", ".join(self.commands)
                    raise ValueError(f"rules[{place}]: no command {short(name)}; there are {known}")

    @property
    def slow(self) -> bool:
        """Whether its test takes more than ten minutes."""
        return self.minutes > 10


def _rule(plain: Any, where: str) -> Rule:
    if not isinstance(plain, Mapping) or not isinstance(plain.get("name"), str):
        raise InputError(f"{where}={short(plain)}: expected a name, one of {', '.join(RULES)}")
    name = plain["name"]
    if name not in RULES:
        raise InputError(f"{where}.name={short(name)}: unknown; allowed: {', '.join(RULES)}{suggestion(name, RULES)}")
    rule: Rule = build(RULES[name], {key: value for key, value in plain.items() if key != "name"}, where)
    return rule


def read_claim(file: Path) -> Claim:
    """The claim in a file.

    Raises:
        InputError: it cannot be read, or lacks something; names the file and the key.
    """
    try:
        return build(Claim, read_yaml(file), "")
    except InputError as error:
        raise error if str(error).startswith(str(file)) else InputError(f"{file}: {error}") from None


def file_of(name: str) -> Path:
    """The file of a claim in the book by its name, or of one's own by its path.

    Raises:
        InputError: neither is there.
    """
    own = user_path(name)
    if own.suffix == ENDING or "/" in name:
        if not own.is_file():
            raise InputError(f"claims {short(name)}: no such file")
        return own
    if name not in book():
        raise InputError(
            f"claims {short(name)}: unknown; allowed: {', '.join(book())}, or a file{suggestion(name, book())}"
        )
    return book()[name]


def book() -> dict[str, Path]:
    """The claims that headwise knows, by name."""
    return {file.stem: file for file in sorted(BOOK.glob(f"*{ENDING}"))}


def last_verdict(file: Path) -> dict[str, Any]:
    """What the last test that was kept beside a claim's file said; empty if there is none.

    Raises:
        InputError: it cannot be read.
    """
    return read_verdict(file.with_suffix(".json"))


def read_verdict(file: Path) -> dict[str, Any]:
    """What a test said; empty if there is none.

    Raises:
        InputError: it cannot be read.
    """
    if not file.is_file():
        return {}
    content = read_mapping(file)
    if wrong := mismatch(content, shapes.VERDICT):
        raise InputError(f"{file}: damaged: {wrong}; remove it, and test the claim again")
    return content
