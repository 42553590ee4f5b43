"""What a study of a pretrained model has measured so far: kept in its directory, so that the same command goes on."""

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headwise.errors import InputError
from headwise.files import read_mapping

if TYPE_CHECKING:
    from torch import nn

KEPT = "measured.json"
CHANGED = {"texts": "a text", "weights": "the model"}


def kept(
    output: Path,
    settings: Mapping[str, Any],
    texts: Mapping[str, str | None],
    model: "nn.Module",
    empty: Mapping[str, Any],
) -> dict[str, Any]:
    """What an earlier call has measured there, or what a first one begins with, for the caller to fill and to write.

    Args:
        output: directory of the study.
        settings: plain JSON, what every number depends on.
        texts: files of text that it depends on, or None.
        model: that it depends on, before anything in it is fitted; its name may come to stand for another.
        empty: what is measured, before anything is.

    Raises:
        InputError: it was measured with other settings, or a text or the model has changed since.
    """
    from headwise.pretrained.saving import fingerprint  # which loads torch

    own = {**settings, "texts": {key: _digest(path) for key, path in texts.items()}, "weights": fingerprint(model)}
    if not (output / KEPT).is_file():
        return {"settings": own, **empty}
    found = dict(read_mapping(output / KEPT))
    for key, value in own.items():
        if (before := found.get("settings", {}).get(key)) != value:
            if key in CHANGED:
                raise InputError(
                    f"output={output}: {CHANGED[key]} has changed since it was measured; choose another output"
                )
            raise InputError(f"output={output}: was measured with {key}={before}, not {value}; choose another output")
    return found


@contextmanager
def going_on(output: Path) -> Iterator[None]:
    """Inside the block Ctrl-C says that the same command with this output goes on."""
    try:
        yield
    except KeyboardInterrupt as stop:
        stop.output = output  # type: ignore[attr-defined]
        raise


def _digest(path: str | None) -> str | None:
    from headwise.pretrained.opening import read_texts  # which loads torch

    return None if path is None else hashlib.sha256("\0".join(read_texts(path)).encode()).hexdigest()[:16]
