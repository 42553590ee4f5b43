"""Download one file: resumed where it stopped, checked, and there whole or not at all."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from http.client import HTTPException
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from headwise.errors import InputError

TIMEOUT = 30.0
"""Seconds without a byte after which a connection counts as broken."""

CHUNK = 2**16
"""Bytes read at once; at most so many are lost when a connection breaks."""

Progress = Callable[[int, int | None], None]
"""Told the bytes that are there and, where the server says so, how many there will be."""


def download(url: str, path: Path, sha256: str | None, progress: Progress) -> bool:
    """Fetch `url` into `path`, going on with what an earlier call left in `path`.part.

    Args:
        sha256: of the file, in hexadecimal; None for a file that is not checked. Such a file is always fetched from
            its beginning, since nothing would tell whether two halves belong together.
        progress: called with every chunk.

    Returns:
        Whether it was downloaded; False where it was there already.

    Raises:
        InputError: no connection, or a broken one (what came is kept); the server has no such file; another content
            than expected, twice; or a file of that name with another content, which is left alone.
    """
    if path.exists():
        if sha256 is not None and digest(path) != sha256:
            raise InputError(f"{path}: is there, but is not the published file (sha256); move it away to download it")
        return False
    part = path.with_name(path.name + ".part")
    if sha256 is None:
        part.unlink(missing_ok=True)
    found = ""
    for _ in range(2):  # a part of something else, or damaged on the way, is put right by starting again
        _transfer(url, part, progress)
        found = digest(part)
        if sha256 is None or found == sha256:
            os.replace(part, path)
            return True
        part.unlink()
    raise InputError(f"{url}: not the published file, twice (sha256 {found}, expected {sha256}); nothing is kept")


def digest(path: Path) -> str:
    """The sha256 of a file's content, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _transfer(url: str, part: Path, progress: Progress) -> None:
    """Fetch what `part` lacks, or all of it from a server that cannot send a rest."""
    have = part.stat().st_size if part.exists() else 0
    headers = {"User-Agent": "headwise", **({"Range": f"bytes={have}-"} if have else {})}
    try:
        response = urlopen(Request(url, headers=headers), timeout=TIMEOUT)
    except HTTPError as error:
        error.close()
        if error.code == 416 and have:  # nothing behind it: whole, or not of this file, which its digest will tell
            return
        raise InputError(f"{url}: the server answers {error.code} {error.reason}") from None
    except (OSError, HTTPException) as error:
        raise _broken(url, part, error) from None
    with response:
        partial = response.status == 206
        if partial and not response.headers.get("Content-Range", "").startswith(f"bytes {have}-"):
            raise InputError(f"{url}: the server sends another part than asked for; delete {part} to start again")
        done = have if partial else 0
        length = response.headers.get("Content-Length", "")
        total = done + int(length) if length.isdecimal() else None
        part.parent.mkdir(parents=True, exist_ok=True)
        with part.open("ab" if partial else "wb") as file:
            while chunk := _read(response.read, url, part):
                file.write(chunk)
                done += len(chunk)
                progress(done, total)
    if total is not None and done < total:
        raise _broken(url, part, f"closed after {done:,} of {total:,} bytes")


def _read(read: Callable[[int], bytes], url: str, part: Path) -> bytes:
    try:
        return read(CHUNK)
    except (OSError, HTTPException) as error:
        raise _broken(url, part, error) from None


def _broken(url: str, part: Path, error: object) -> InputError:
    reason = getattr(error, "reason", error)  # urllib wraps what the socket said
    reason = getattr(reason, "strerror", None) or str(reason) or type(reason).__name__
    kept = f"; the same command goes on from {part}" if part.exists() else ""
    return InputError(f"{url}: no connection ({reason}){kept}")
