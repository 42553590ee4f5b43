"""Files keep loading: those of earlier formats as they were, those of later ones not at all, with a line that says so.

`formats/` holds files as they were written, because a function that writes them again would change with the code. A new
format adds a file there, and takes none away.
"""

import base64
import json
import zlib
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

import headwise
from headwise.errors import InputError
from headwise.files import read_mapping, write_json
from headwise.models.checkpoint import CONFIG, FORMAT, WEIGHTS
from headwise.training import checkpoints
from headwise.training.checkpoints import read_checkpoint
from headwise.training.run import train
from tests.training.recipes import tiny

KEPT = sorted((Path(__file__).parent / "formats").glob("*.json"))


def unpacked(file: Path, folder: Path) -> tuple[Path, dict[str, Any]]:
    """The run that a kept file holds, as a directory, and what the headwise of that time measured on it."""
    content = json.loads(file.read_text(encoding="utf-8"))
    (folder / "config.yaml").write_text(content["config.yaml"])
    (folder / CONFIG).write_text(json.dumps(content["model.json"]))
    (folder / WEIGHTS).write_bytes(zlib.decompress(base64.b64decode(content["model.safetensors"])))
    return folder, content


@pytest.mark.parametrize("file", KEPT, ids=lambda file: file.stem)
def test_a_run_of_an_earlier_format_reaches_what_it_reached_then(file: Path, tmp_path: Path) -> None:
    run, then = unpacked(file, tmp_path)
    assert headwise.evaluate(run, {"device": "cpu"})["value"] == pytest.approx(then["value"], abs=1e-6)


def test_every_format_has_a_run_that_was_kept(tmp_path: Path) -> None:
    """A format without a kept file would be read by no test once the next one is written."""
    kept = {content["model.json"].get("format", 0) for content in (json.loads(file.read_text()) for file in KEPT)}
    assert kept >= set(range(FORMAT))  # the newest is what all other tests write


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(tiny(tmp_path_factory.mktemp("formats"), updates=10), progress=False)


def test_a_model_of_a_newer_format_is_refused_with_who_wrote_it(run: Path, tmp_path: Path) -> None:
    for file in ("config.yaml", WEIGHTS):
        (tmp_path / file).write_bytes((run / file).read_bytes())
    content = read_mapping(run / CONFIG)
    assert content["format"] == FORMAT
    write_json(tmp_path / CONFIG, content | {"format": FORMAT + 1, "version": "9.9.1"})
    with pytest.raises(InputError) as refused:
        headwise.load(tmp_path)
    own = headwise.__version__
    assert str(refused.value) == (
        f"{tmp_path / CONFIG}: format {FORMAT + 1}, written by headwise 9.9.1; this is {own}, which reads up to "
        f"{FORMAT}: install a newer headwise"
    )


@pytest.mark.parametrize(
    ("number", "message"),
    [(0, "formats are numbered from 1"), ("two", "format is a word, expected a whole number"), (None, "nothing")],
)
def test_a_format_that_is_no_number_is_damage(number: Any, message: str, run: Path, tmp_path: Path) -> None:
    for file in ("config.yaml", WEIGHTS):
        (tmp_path / file).write_bytes((run / file).read_bytes())
    write_json(tmp_path / CONFIG, read_mapping(run / CONFIG) | {"format": number})
    with pytest.raises(InputError, match=message):
        headwise.load(tmp_path)


def test_a_checkpoint_without_a_number_is_of_the_first_format_and_resumed_to_the_same_bits(tmp_path: Path) -> None:
    whole = train(tiny(tmp_path / "a", updates=20, schedule="constant", warmup=0.0), progress=False)
    half = train(tiny(tmp_path / "b", updates=10, schedule="constant", warmup=0.0), progress=False)
    for file in (half / "checkpoints").iterdir():
        content = torch.load(file, weights_only=True)
        assert content.pop("format") == checkpoints.FORMAT
        assert content.pop("version") == headwise.__version__
        torch.save(content, file)
    config = yaml.safe_load((half / "config.yaml").read_text())
    config["training"]["updates"] = 20
    train(headwise.RunConfig.from_plain(config), half, progress=False)
    ours, theirs = headwise.load(half).state_dict(), headwise.load(whole).state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_a_checkpoint_of_a_newer_format_is_refused(run: Path, tmp_path: Path) -> None:
    content = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
    torch.save(content | {"format": 7, "version": "9.9"}, tmp_path / "last.ckpt")
    with pytest.raises(InputError, match=r"last\.ckpt: format 7, written by headwise 9\.9; .*install a newer headwise"):
        read_checkpoint(tmp_path / "last.ckpt")
