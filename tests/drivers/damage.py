"""Ways to damage what is read: bytes, texts, JSON and YAML values, tensors, and what stands in place of a file.

Each takes a `random.Random`, so that a seed gives the same damage anywhere.
"""

import io
import json
import os
import random
import shutil
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

ODD_WORDS = [
    "",
    " ",
    "null",
    "true",
    "nan",
    ".inf",
    "-1",
    "0",
    "1e400",
    "9" * 5000,
    "0x" + "f" * 9000,
    "2**63",
    "ä\u2028",
    "x" * 70_000,
]
ODD_WORDS += [
    "~",
    "..",
    "/dev/null",
    "/dev/zero",
    "[",
    "]",
    "{",
    "[[[[",
    "{a:1}",
    "${oc.env:HOME}",
    "${a}",
    "a\nb",
    "\x1b[31m",
    "'",
    '"',
    "@x",
    "1,2",
]
ODD_VALUES: list[Any] = [
    None,
    True,
    False,
    0,
    -1,
    3,
    2**63,
    10**400,
    0.5,
    -1e308,
    float("nan"),
    float("inf"),
    "",
    "word",
]
ODD_VALUES += ["\u2028", "x" * 100_000, [], [[]], [None], ["a", 1], {}, {"": 1}, {"name": "x"}, {"a": {"b": []}}]


def odd_value(rng: random.Random, deepest: int = 900) -> Any:
    """A value of some other type or size than a file should hold, at most so deep."""
    if rng.random() < 0.05:
        deep: Any = 1
        for _ in range(rng.choice([50, deepest])):
            deep = [deep] if rng.random() < 0.5 else {"a": deep}
        return deep
    return rng.choice(ODD_VALUES)


def places(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Where something stands in nested mappings and lists."""
    found = [at] if at else []
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        found += places(item, (*at, key))
    return found


def in_values(value: Any, rng: random.Random, other: Callable[[Any], Any] | None = None) -> Any:
    """The value with something missing, renamed, or of another kind in one or two places."""
    for _ in range(rng.choice([1, 1, 2])):
        known = places(value)
        if not known:
            return odd_value(rng)
        *way, last = rng.choice(known)
        parent = value
        for key in way:
            parent = parent[key]
        kind = rng.random()
        if kind < 0.25 and isinstance(parent, dict):
            del parent[last]
        elif kind < 0.4 and isinstance(parent, dict):
            parent[f"{last}_"] = parent.pop(last)
        elif kind < 0.45 and isinstance(parent, list):
            parent.append(other(None) if other is not None else odd_value(rng))
        else:
            parent[last] = other(parent[last]) if other is not None else odd_value(rng)
    return value


def in_bytes(content: bytes, rng: random.Random) -> bytes:
    """The same bytes cut, changed, in another encoding, or something else altogether."""
    place = rng.randrange(len(content) + 1)
    flipped = bytearray(content or b"\0")
    for _ in range(rng.choice([1, 8, 64])):
        flipped[rng.randrange(len(flipped))] = rng.randrange(256)
    text = content.decode("utf-8", "replace")
    kinds: list[Callable[[], bytes]] = [
        lambda: content[:place],
        lambda: content[:place] + bytes(rng.randrange(1, 5000)) + content[place:],
        lambda: content[:place] + rng.randbytes(20) + content[place:],
        lambda: bytes(flipped),
        lambda: b"",
        lambda: b"\n",
        lambda: b"\xef\xbb\xbf" + content,
        lambda: text.encode("utf-16"),
        lambda: (text + "ä").encode("latin-1", "replace"),
        lambda: b"[" * rng.choice([2000, 600_000]),
        lambda: content + content,
        lambda: content.replace(b"\n", b"\r\n"),
        lambda: rng.choice(ODD_WORDS).encode() + b"\n",
        lambda: content[:place] + rng.choice(ODD_WORDS).encode() + content[place:],
    ]
    return rng.choice(kinds)()


def in_place(path: Path, rng: random.Random) -> str:
    """Something other than a regular file under this name; says what."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
    kind = rng.choice(
        ["nothing", "a folder", "a pipe", "/dev/zero", "/dev/null", "a link to itself", "a socket", "a broken link"]
    )
    match kind:
        case "a folder":
            path.mkdir()
        case "a pipe":
            os.mkfifo(path)
        case "/dev/zero" | "/dev/null":
            path.symlink_to(kind)
        case "a link to itself":
            path.symlink_to(path.name)
        case "a broken link":
            path.symlink_to("nowhere")
        case "a socket":
            here = os.getcwd()
            os.chdir(path.parent)  # the name of a socket may be no longer than 107 characters
            try:
                socket.socket(socket.AF_UNIX).bind(path.name)
            finally:
                os.chdir(here)
    return kind


def in_file(path: Path, rng: random.Random) -> str:
    """Damage a file in the way of its kind, or in any; says how."""
    kind = rng.random()
    if kind < 0.12:
        return in_place(path, rng)
    if kind < 0.35 or path.suffix not in (".json", ".jsonl", ".yaml", ".ckpt", ".npy"):
        path.write_bytes(in_bytes(path.read_bytes(), rng))
        return "bytes"
    match path.suffix:
        case ".json":
            path.write_text(json.dumps(in_values(json.loads(path.read_text()), rng)))
        case ".jsonl":
            lines = path.read_text().splitlines()
            number = rng.randrange(len(lines))
            lines[number] = json.dumps(in_values(json.loads(lines[number]), rng))
            path.write_text("\n".join(lines) + "\n")
        case ".yaml":
            path.write_text(yaml.safe_dump(in_values(yaml.safe_load(path.read_text()), rng)))
        case ".ckpt":
            content = torch.load(path, weights_only=True)
            torch.save(in_values(content, rng, lambda before: other_tensor(before, rng)), path)
        case ".npy":
            out = io.BytesIO()
            odd = [
                np.zeros((2, 3)),
                np.array(["a", "b"]),
                np.array(1.0),
                np.zeros(0),
                np.array([1j]),
                np.zeros(3, "i8,f4"),
                np.arange(7),
            ]
            np.save(out, rng.choice(odd))
            path.write_bytes(out.getvalue())
    return "values"


def other_tensor(before: Any, rng: random.Random) -> Any:
    """A tensor of another shape or type in place of one, else an odd value."""
    if not isinstance(before, torch.Tensor) or rng.random() < 0.3:
        return odd_value(rng, deepest=50)  # torch itself writes no deeper ones
    kinds: list[Callable[[], Any]] = [
        lambda: torch.zeros(rng.choice([(), (1,), (3, 5), (0,)])),
        lambda: before.unsqueeze(0),
        lambda: before.to(torch.complex64),
        lambda: before.to(torch.int64) if not before.is_complex() else before,
        lambda: before.tolist(),
        lambda: torch.zeros(before.shape, dtype=torch.bool),
    ]
    return rng.choice(kinds)()
