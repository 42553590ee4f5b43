"""The identity of the data that a run, or several, began with: work does not go on with others.

`data.json` holds `TaskData.identity()`: a line for each split, and one for the facts.
"""

from collections.abc import Mapping
from pathlib import Path

from headwise.errors import InputError
from headwise.files import read_mapping, write_json
from headwise.training.files import CHECKPOINTS, DATA, LAST, PREVIOUS, SUMMARY

ADVICE = "put the data back as they were, or start anew in another directory"


class OtherDataError(InputError):
    """Work was to go on with other data than it began with; the message names both."""


def keep_identity(directory: Path, identity: Mapping[str, str]) -> None:
    """Note the data of a run that begins, or refuse to go on with others.

    Raises:
        OtherDataError: the run in this directory began with other data.
        InputError: it has been trained, but what its data were cannot be read.
    """
    file = directory / DATA
    begun = any((directory / name).exists() for name in (SUMMARY, f"{CHECKPOINTS}/{LAST}", f"{CHECKPOINTS}/{PREVIOUS}"))
    if begun or file.exists():
        check_identity(str(directory), read_mapping(file), identity)
    else:
        write_json(file, dict(identity))


def check_identity(what: str, before: Mapping[str, object], now: Mapping[str, object]) -> None:
    """Refuse data that differ from those that `what` began with.

    Raises:
        OtherDataError: with the first part that differs, before and now.
    """
    for part in dict.fromkeys([*before, *now]):
        if before.get(part) != now.get(part):
            raise OtherDataError(
                f"{what}: began with other data: {part} was {before.get(part)}, is {now.get(part)}; {ADVICE}"
            )
