"""Public data sets that tasks read: where they are, and what tells that they came over whole."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from headwise.errors import InputError
from headwise.tasks.download import download


@dataclass(frozen=True)
class DataSet:
    """Files at a public address that does not change.

    Attributes:
        home: what their addresses begin with.
        files: path behind `home` -> sha256, None for one that is not checked. The last part of the path is its name.
        licence: under which they are published, and by whom.
        setting: what makes a task read it.
    """

    home: str
    files: Mapping[str, str | None]
    licence: str
    setting: str


DATA_SETS = {
    "ud_en_ewt": DataSet(
        "https://raw.githubusercontent.com/UniversalDependencies/UD_English-EWT/r2.16/",
        {
            "en_ewt-ud-train.conllu": "3fb78e2b55482c8ee00caa653af436c88c9e5bc9a73ce26e4ae3ddc79d2b7e7b",
            "en_ewt-ud-dev.conllu": "531a54ff90d6ab12201c5a50c3e78e6ddac4de69abc4bce5d275d3cd29efe2b6",
            "en_ewt-ud-test.conllu": "e266e515a0a7547657ed3d90d9ba46487d6bd251f27ad4269d4e8a427c8555cd",
            "LICENSE.txt": None,  # for people; no result depends on it
        },
        "CC BY-SA 4.0, Silveira et al. and the contributors of Universal Dependencies",
        "task=parsing task.treebank=ud_en_ewt",
    ),
    "tinyshakespeare": DataSet(
        "https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/",
        {"input.txt": "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed"},
        "public domain",
        "task=language task.corpus=tinyshakespeare",
    ),
}
"""Name, which is also that of the folder, -> data set."""


def get(name: str, folder: Path, progress: Callable[[str, int, int | None], None]) -> dict[str, bool]:
    """Download the data set into `folder`/`name`; files that are there and whole stay.

    Args:
        progress: called with a file's name, the bytes that are there and, if known, how many there will be.

    Returns:
        Per file whether it was downloaded now.

    Raises:
        InputError: an unknown name, or what `download` says; finished files stay, an unfinished one is kept.
    """
    if name not in DATA_SETS:
        raise InputError(f"data get {name}: unknown data set; choose one of {', '.join(DATA_SETS)}")
    data_set = DATA_SETS[name]
    found = {}
    for path, sha256 in data_set.files.items():
        file = path.rpartition("/")[2]

        def told(done: int, total: int | None, file: str = file) -> None:
            progress(file, done, total)

        found[file] = download(data_set.home + path, folder / name / file, sha256, told)
    return found
