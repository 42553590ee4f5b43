"""Paths that may be typed next: what lies in the folder that is typed so far."""

import os
from collections.abc import Callable, Iterator

from headwise.commands.typed import Candidate
from headwise.errors import InputError
from headwise.files import user_path
from headwise.training.files import CONFIG, SUMMARY

MOST = 2_000
"""Entries of a folder that are looked at, so that a key press never waits for a folder of millions."""


def paths(
    text: str,
    wanted: Callable[[str], bool] = lambda name: True,
    folders_only: bool = False,
    runs_only: bool = False,
) -> Iterator[Candidate]:
    """Files and folders that begin with `text`, in the order of their names.

    Args:
        text: a path as far as it is typed; a leading ~ is the home and stays.
        wanted: which files, by name.
        folders_only: no files.
        runs_only: no files, and the directory of a run is a whole word, not a folder to look into.
    """
    folder, slash, start = text.rpartition("/")
    if text == "~":
        yield Candidate("~/", ends=False)
        return
    try:
        with os.scandir(user_path(folder + slash) if folder or slash else ".") as entries:
            found = sorted((entry for entry, _ in zip(entries, range(MOST), strict=False)), key=lambda e: e.name)
            for entry in found:
                # Hidden ones only when their point is typed, as shells do
                if entry.name.startswith(start) and (start or not entry.name.startswith(".")):
                    yield from _offered(entry, folder + slash, wanted, folders_only or runs_only, runs_only)
    except (OSError, InputError, ValueError):  # no such folder, home or name
        return


def _offered(
    entry: "os.DirEntry[str]", folder: str, wanted: Callable[[str], bool], folders_only: bool, runs_only: bool
) -> Iterator[Candidate]:
    path = folder + entry.name
    if not entry.is_dir():
        if not folders_only and wanted(entry.name):
            yield Candidate(path)
    elif runs_only and os.path.exists(os.path.join(entry.path, CONFIG)):
        finished = os.path.exists(os.path.join(entry.path, SUMMARY))
        yield Candidate(path, "a run" if finished else "a run that is not finished")
    else:
        yield Candidate(f"{path}/", ends=False)
