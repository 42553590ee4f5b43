"""Models that are loaded by name: which there are, and where they lie on this machine.

A recipe in `conf/weights/` says how each is trained. The trained ones come in a package of their own,
`headwise-weights`, a folder per model, each a run directory with what loading needs; or in a folder that
HEADWISE_WEIGHTS names.
"""

import os
from importlib.util import find_spec
from pathlib import Path

from headwise.errors import InputError
from headwise.files import user_path
from headwise.schema import short, suggestion
from headwise.training.files import CONFIG
from headwise.training.presets import presets

GROUP = "weights"
"""Folder of `conf` with the recipes."""
PACKAGE, DISTRIBUTION = "headwise_weights", "headwise-weights"
VARIABLE = "HEADWISE_WEIGHTS"
"""Names a folder of such models in the environment; it goes before the package."""
GET = f"pip install {DISTRIBUTION}, or make weights in a checkout; or {VARIABLE}=<a folder that has it>"


def loadable() -> dict[str, tuple[str, Path | None]]:
    """Name -> what the model is, in one line, and its folder; None where it is not on this machine.

    Raises:
        InputError: HEADWISE_WEIGHTS names no folder.
    """
    lines, here = presets(GROUP), _installed()
    return {name: (lines.get(name, ""), here.get(name)) for name in dict.fromkeys([*lines, *here])}


def find_run(run: str | os.PathLike[str]) -> Path:
    """The directory of a run, from its path or from the name of a model that is loaded by name; a path goes first.

    Raises:
        InputError: a model that is not on this machine, or what is neither and close to a name.
    """
    path, text = user_path(run), os.fspath(run)
    if path.exists() or path.name != text:
        return path
    models = loadable()
    if text in models:
        if (place := models[text][1]) is None:
            raise InputError(f"{text}: not on this machine; {GET}")
        return place
    if near := suggestion(text, models):
        raise InputError(f"{short(text)}: neither a directory nor a model; models: {', '.join(models)}{near}")
    return path


def place_beside(run: str, kind: str) -> Path | None:
    """Where results on a model that is loaded by name go, as no one wants them in an installed package.

    Returns:
        A folder; None for a run by its path, whose directory is the place.
    """
    return None if find_run(run) == user_path(run) else Path("runs") / f"{kind}-{run}"


def _installed() -> dict[str, Path]:
    """Models on this machine, by name."""
    found: dict[str, Path] = {}
    for folder in _folders():
        for place in sorted(folder.iterdir()):
            if (place / CONFIG).is_file():
                found.setdefault(place.name, place)
    return found


def _folders() -> list[Path]:
    folders = []
    if given := os.environ.get(VARIABLE):
        own = user_path(given)
        if not own.is_dir():
            raise InputError(f"{VARIABLE}={given}: no such folder")
        folders.append(own)
    package = find_spec(PACKAGE)
    return folders + [Path(place) for place in (package.submodule_search_locations if package else None) or ()]
