"""Which headwise this is: its version, and the commit of its source where that is a git checkout; whether it reads what
another one wrote.
"""

import contextlib
import os
import subprocess
from collections.abc import Mapping
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from headwise.errors import InputError
from headwise.files import typed

SECONDS = 5.0  # after which a slow repository is left alone


@cache
def source_code(package: Path = Path(__file__).parent) -> dict[str, Any]:
    """What trained a run, for its records.

    Args:
        package: the folder of the package; src/headwise in a checkout.

    Returns:
        `version`; and, only where the package lies in a git checkout of its own, `commit` and `dirty`, whether any file
        of the package differs from that commit.
    """
    known: dict[str, Any] = {"version": metadata.version("headwise")}
    root = package.parent.parent
    if package.parent.name != "src" or not (root / ".git").exists():
        return known
    command = ["git", "-C", str(root), "status", "--porcelain=v2", "--branch", "--", str(package)]
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        # Without optional locks: a training run must not stand in the way of somebody's commit.
        lines = subprocess.run(
            command,
            capture_output=True,
            text=True,
            check=True,
            timeout=SECONDS,
            env=os.environ | {"GIT_OPTIONAL_LOCKS": "0"},
        ).stdout.splitlines()
        commits = [line.removeprefix("# branch.oid ") for line in lines if line.startswith("# branch.oid ")]
        if commits and commits[0] != "(initial)":
            known |= {"commit": commits[0], "dirty": any(not line.startswith("#") for line in lines)}
    return known


def check_format(content: Mapping[str, Any], where: object, reads: int, unnumbered: bool = False) -> int:
    """Refuse a file of a format that this headwise does not know.

    Args:
        content: of the file; `format` is the number of its format, `version` the headwise that wrote it.
        where: it stands, for the message.
        reads: the newest format that is known; all from 1 on are.
        unnumbered: whether a file without a number is one of format 1, written before there were numbers.

    Returns:
        The number.

    Raises:
        InputError: the format is newer, or no number.
    """
    if unnumbered and "format" not in content:
        return 1
    number = typed(content, "format", int, where)
    if number > reads:
        made = " ".join(str(content.get("version", "?")).split())[:60]
        raise InputError(
            f"{where}: format {number}, written by headwise {made}; this is {metadata.version('headwise')}, which "
            f"reads up to {reads}: install a newer headwise"
        )
    if number < 1:
        raise InputError(f"{where}: format {number}; formats are numbered from 1, so the file is damaged")
    return number
