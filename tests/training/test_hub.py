"""A run pushed and pulled is the same model; whatever is wrong on the way is one line, and leaves nothing behind."""

import json
import shutil
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import headwise
from headwise.cli import main
from headwise.errors import InputError
from headwise.training.hub import HubError, place_of, pull, push
from headwise.training.run import train
from tests.training.hub_server import TOKEN, Hub, serving
from tests.training.recipes import tiny


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(tiny(tmp_path_factory.mktemp("hub"), updates=5), progress=False)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    pytest.importorskip("huggingface_hub", reason="the extra hub is not installed")
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "cache"))
    with serving() as server:
        yield server


def same_model(first: str | Path, second: str | Path) -> bool:
    """Whether two runs have the same weights and settings."""
    ours, theirs = headwise.load(first), headwise.load(second)
    weights = theirs.state_dict()
    return all(torch.equal(value, weights[name]) for name, value in ours.state_dict().items()) and (
        ours.backbone.arm == theirs.backbone.arm
    )


def test_a_folder_has_what_the_hub_expects_and_comes_back_as_the_run(run: Path, tmp_path: Path) -> None:
    assert push(run, f"{tmp_path}/sorter", licence="MIT", data="Numbers.") == f"{tmp_path}/sorter"
    names = {file.name for file in (tmp_path / "sorter").iterdir()}
    assert names == {"config.json", "model.safetensors", "README.md"}
    assert json.loads((tmp_path / "sorter" / "config.json").read_text())["model_type"] == "headwise"
    text = (tmp_path / "sorter" / "README.md").read_text()
    assert text.startswith("---\nlicense: mit\nlibrary_name: headwise\n")
    assert "headwise train task=sorting" in text
    back = pull(f"{tmp_path}/sorter", tmp_path / "back")
    assert same_model(run, back)
    assert headwise.evaluate(back)["value"] == headwise.evaluate(run)["value"]
    assert (back / "README.md").read_text() == text


def test_a_run_goes_through_a_server_and_comes_back(run: Path, hub: Hub, tmp_path: Path) -> None:
    address = f"{hub.address}/me/sorter"
    assert push(run, address, licence="Apache-2.0") == address
    assert set(hub.files["me/sorter"]) == {"config.json", "model.safetensors", "README.md"}
    hub.files["me/sorter"]["pickled.bin"] = b"not asked for"
    assert same_model(run, pull(address, tmp_path / "back"))
    assert not any("pickled" in request for request in hub.requests)


def test_a_second_push_writes_over_the_first(run: Path, hub: Hub, tmp_path: Path) -> None:
    address = f"{hub.address}/me/sorter"
    push(run, address, licence="Apache-2.0")
    push(run, address, licence="MIT")
    assert b"license: mit" in hub.files["me/sorter"]["README.md"]


def test_a_shared_run_is_shared_again_under_its_own_card(run: Path, tmp_path: Path) -> None:
    push(run, f"{tmp_path}/first", licence="MIT", data="Numbers.")
    back = pull(f"{tmp_path}/first", tmp_path / "back")
    push(back, f"{tmp_path}/second")
    text = (tmp_path / "second" / "README.md").read_text()
    assert "license: mit" in text
    assert "Numbers." in text
    shutil.copy(run / "model.safetensors", back / "model.safetensors")
    assert push(back, f"{tmp_path}/third")  # the same weights
    model = headwise.load(back)
    with torch.no_grad():
        next(model.parameters()).add_(1)
    from headwise.models.checkpoint import read_config, save

    save(back, model, read_config(back))
    with pytest.raises(InputError, match="is about other weights than lie beside it"):
        push(back, f"{tmp_path}/fourth")


def test_without_a_licence_nothing_is_shared(run: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"has no licence; .*licence=Apache-2\.0"):
        push(run, f"{tmp_path}/sorter")
    assert not (tmp_path / "sorter").exists()


@pytest.mark.parametrize(
    ("text", "folder", "repository", "endpoint"),
    [
        ("me/model", None, "me/model", None),
        ("./me/model", "me/model", None, None),
        ("/tmp/model", "/tmp/model", None, None),
        ("https://hub.example/me/model", None, "me/model", "https://hub.example"),
        ("https://huggingface.co/me/model", None, "me/model", None),
    ],
)
def test_places(
    text: str, folder: str | None, repository: str | None, endpoint: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HF_ENDPOINT", raising=False)
    place = place_of(text)
    assert place.folder == (None if folder is None else Path(folder))
    assert (place.repository, place.endpoint) == (repository, endpoint)


@pytest.mark.parametrize("text", ["model", "a/b/c", "ftp://server/me/model", "https://server/model", "me/mo del", ""])
def test_what_is_no_place_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="write"):
        place_of(text)


def test_the_token_of_the_hub_is_not_sent_to_another_server_for_reading(run: Path, hub: Hub, tmp_path: Path) -> None:
    """Who pulls from an address in a mail must not hand over the right to write to all that is his."""
    push(run, f"{hub.address}/me/sorter", licence="MIT")
    hub.requests.clear()
    pull(f"{hub.address}/me/sorter", tmp_path / "back")
    assert hub.requests
    assert not any("Bearer" in request for request in hub.requests)


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        (lambda config: config.pop("headwise"), "no key headwise in it"),
        (lambda config: config["headwise"].pop("run"), "run is missing"),
        (lambda config: config["headwise"].pop("card"), "card is missing"),
        (lambda config: config["headwise"]["card"].pop("licence"), "card: damaged .licence: missing"),
        (lambda config: config["headwise"].update(format=9, version="3.1"), r"format 9, written by headwise 3\.1"),
        (lambda config: config["headwise"]["run"]["model"].update(width=6), "model.safetensors"),
    ],
)
def test_a_damaged_model_is_refused_and_nothing_is_left(break_it: Any, message: str, run: Path, tmp_path: Path) -> None:
    push(run, f"{tmp_path}/sorter", licence="MIT")
    file = tmp_path / "sorter" / "config.json"
    config = json.loads(file.read_text())
    break_it(config)
    file.write_text(json.dumps(config))
    with pytest.raises(InputError, match=message) as refused:
        pull(f"{tmp_path}/sorter", tmp_path / "back")
    assert str(refused.value).startswith(f"{tmp_path}/sorter")
    assert sorted(place.name for place in tmp_path.iterdir()) == ["sorter"]


def test_a_folder_that_is_none_of_ours_is_refused(run: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such folder"):
        pull(f"{tmp_path}/gone", tmp_path / "back")
    with pytest.raises(InputError, match="it is the directory of a run already"):
        pull(str(run), tmp_path / "back")
    push(run, f"{tmp_path}/sorter", licence="MIT")
    (tmp_path / "sorter" / "model.safetensors").unlink()
    with pytest.raises(InputError, match=r"model\.safetensors: not found"):
        pull(f"{tmp_path}/sorter", tmp_path / "back")


def test_a_place_that_is_taken_is_left_as_it_is(run: Path, tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "mine").write_text("mine")
    with pytest.raises(InputError, match="taken: not empty; choose a new folder"):
        push(run, f"{tmp_path}/taken", licence="MIT")
    push(run, f"{tmp_path}/sorter", licence="MIT")
    with pytest.raises(InputError, match="taken: not empty; choose a new folder"):
        pull(f"{tmp_path}/sorter", tmp_path / "taken")
    assert [file.name for file in (tmp_path / "taken").iterdir()] == ["mine"]


def test_a_server_that_has_no_such_repository_says_so(hub: Hub, tmp_path: Path) -> None:
    with pytest.raises(HubError, match="me/nothing: no such repository, or none that you may see"):
        pull(f"{hub.address}/me/nothing", tmp_path / "back")
    assert not (tmp_path / "back").exists()


def test_a_wrong_token_is_said_with_the_remedy(run: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_another")
    with pytest.raises(HubError, match=r"the server refuses .*; hf auth login, or HF_TOKEN"):
        push(run, f"{hub.address}/me/sorter", licence="MIT")
    assert "me/sorter" not in hub.files


def test_a_network_that_is_not_there_is_one_line_and_exit_code_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("huggingface_hub", reason="the extra hub is not installed")
    with socket.socket() as taken:  # bound, but nobody listens
        taken.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{taken.getsockname()[1]}/me/sorter"
        assert main(["pull", address, f"output={tmp_path}/back"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"headwise: {address}: cannot be reached")
    assert not (tmp_path / "back").exists()


def test_without_the_extra_repositories_are_refused_and_folders_work(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(InputError, match=r"pip install 'headwise\[hub\]'"):
        push(run, "me/sorter", licence="MIT")
    with pytest.raises(InputError, match=r"pip install 'headwise\[hub\]'"):
        pull("me/sorter", tmp_path / "back")
    assert push(run, f"{tmp_path}/sorter", licence="MIT")
