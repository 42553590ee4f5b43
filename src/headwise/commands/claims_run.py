"""`headwise claims run`: tests claims again, by their own commands."""

import importlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from headwise.commands.catalogue import named
from headwise.commands.claims import in_short, of_verdict
from headwise.commands.result import Result, columns, key_values
from headwise.commands.words import read
from headwise.errors import InputError
from headwise.files import make_folder, user_path, write_json
from headwise.lab.claims.claim import book, file_of, read_claim
from headwise.lab.claims.retest import described, retest
from headwise.lab.outputs import CLAIMS
from headwise.lab.report.write import write_report
from headwise.schema import FilePath, argument, short
from headwise.training import configuration

ALL = "all"


@dataclass(frozen=True)
class Options:
    """Test claims again: run their commands, judge what comes out, and write verdict and evidence

    Each claim gets a directory in the output, with verdict.json and what its commands leave; stopped, they go on with
    what is missing. The page, report.html, shows all claims of the call.

    Args:
        claims: names of claims, files of one's own, or all.
        quick: only try whether the commands work, with few updates and seeds: no verdict.
        keep: write the verdict beside the claim's file, too, as its last test.
        output: directory of the results.
    """

    waits: ClassVar[str] = "preparing the claims"
    kept: ClassVar[str] = "finished runs are kept"

    claims: tuple[str, ...] = argument(())
    quick: bool = False
    keep: bool = False
    output: FilePath = "claims"


def run(options: Options) -> Result:
    """Test them one after the other."""
    if not options.claims:
        raise InputError(f"claims run: which claim? {ALL}, a file, or of {', '.join(book())}")
    names = [name for word in options.claims for name in (book() if word == ALL else [word])]
    files = list(dict.fromkeys(file_of(name) for name in names))
    quick = options.quick or os.environ.get("HEADWISE_QUICK") == "1"
    if quick and options.keep:
        raise InputError("claims run keep=true: a quick try gives no verdict to keep; leave out quick or keep")
    folder = user_path(options.output)
    for file in files:
        check(file, folder, quick)
    make_folder(folder)
    claims = []
    for file in files:
        verdict = retest(file, folder, quick)
        if options.keep:
            write_json(file.with_suffix(".json"), verdict)
        claims.append(described(file, verdict))
        write_json(folder / CLAIMS, {"claims": claims, "quick": quick})
        write_report(folder)
    text = [columns(map(in_short, claims), ["claim", "says", "verdict"])]
    text += [key_values(of_verdict(claim["verdict"]), f"\n{claim['name']}") for claim in claims]
    return Result(claims, text)


def check(file: Path, folder: Path, quick: bool) -> None:
    """Refuse a claim whose commands could not be run, before any of them is.

    Raises:
        InputError: names the claim and the command, and says what is wrong with it.
    """
    for key, command in read_claim(file).commands.items():
        try:
            _read(command.words(folder, file.parent, quick))
        except InputError as error:
            raise InputError(f"{file}: commands.{key}: {error}") from None


def _read(words: Sequence[str]) -> None:
    command, own = named(words)
    if command is None:
        raise InputError(f"{short(' '.join(words[:2]))}: unknown command")
    options = read(command, importlib.import_module(command.module).Options, own)
    settings = getattr(options, "settings", ())
    if command.name == "compare":
        configuration.load_arms(options.arms, settings)
    elif command.name == "train":
        configuration.load(settings)
    else:
        configuration.load([word for word in settings if word.startswith("task=")])
