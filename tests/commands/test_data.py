"""`headwise data get` against a server of our own: what is fetched, resumed, checked, and refused."""

import hashlib
import json
import threading
from collections.abc import Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from headwise import cli
from headwise.commands import data_get
from headwise.errors import InputError
from headwise.tasks import data_sets, download
from headwise.tasks.data_sets import DATA_SETS, DataSet

Captured = pytest.CaptureFixture[str]

WORDS = bytes(range(256)) * 1200  # several chunks
LICENCE = b"Do as you like.\n"
assert len(WORDS) > 3 * download.CHUNK


class Server(ThreadingHTTPServer):
    """Serves bytes by name on 127.0.0.1.

    Attributes:
        files: what is served; another name is 404.
        ranges: whether it can send the rest of a file; the original's mistake is to believe that every server can.
        breaks_after: bytes after which it hangs up in the middle of an answer, once; None for never.
        asked: per request the name and the Range header.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {"small/words.bin": WORDS, "small/LICENCE": LICENCE}
        self.ranges = True
        self.breaks_after: int | None = None
        self.asked: list[tuple[str, str | None]] = []

    @property
    def home(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/small/"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        name, wanted = self.path[1:], self.headers["Range"]
        self.server.asked.append((name.rpartition("/")[2], wanted))
        content = self.server.files.get(name)
        if content is None:
            self.send_error(404)
            return
        start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted and self.server.ranges else 0
        if start and start >= len(content):
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        end = None if self.server.breaks_after is None else start + self.server.breaks_after
        self.server.breaks_after = None
        self.wfile.write(content[start:end])

    def log_message(self, format: str, *args: object) -> None:
        """Silence."""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A server, and a data set `small` whose home it is."""
    with Server() as server:
        thread = threading.Thread(target=partial(server.serve_forever, poll_interval=0.01))
        thread.start()
        files = {"words.bin": hashlib.sha256(WORDS).hexdigest(), "LICENCE": None}
        monkeypatch.setitem(DATA_SETS, "small", DataSet(server.home, files, "ours", "task=language"))
        monkeypatch.setenv("no_proxy", "*")
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the data set, in a working directory of its own, not yet there."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HEADWISE_DATA", raising=False)
    return tmp_path / "data" / "small"


def get(capsys: Captured, *words: str) -> dict[str, str]:
    """Per file of `small` what the command says it did."""
    code = cli.main(["data", "get", "small", "--json", *words])
    captured = capsys.readouterr()
    assert code == 0, captured.err
    files: dict[str, str] = json.loads(captured.out)["files"]
    return files


def refused(capsys: Captured, *words: str) -> str:
    """The one line with which the command ends."""
    assert cli.main(["data", *words]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    (line,) = captured.err.splitlines()
    return line


# Whole


def test_a_data_set_is_downloaded_once(server: Server, folder: Path, capsys: Captured) -> None:
    assert get(capsys) == {"words.bin": "downloaded", "LICENCE": "downloaded"}
    assert (folder / "words.bin").read_bytes() == WORDS
    assert (folder / "LICENCE").read_bytes() == LICENCE
    assert sorted(file.name for file in folder.iterdir()) == ["LICENCE", "words.bin"]
    assert get(capsys) == {"words.bin": "there already", "LICENCE": "there already"}
    assert server.asked == [("words.bin", None), ("LICENCE", None)]


def test_it_goes_where_tasks_look_or_where_one_says(
    server: Server, folder: Path, tmp_path: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEADWISE_DATA", str(tmp_path / "sets"))
    get(capsys)
    assert (tmp_path / "sets" / "small" / "words.bin").is_file()
    get(capsys, f"output={tmp_path / 'else where'}")
    assert (tmp_path / "else where" / "small" / "words.bin").is_file()
    assert not folder.exists()


def test_without_json_it_says_what_to_do_next(server: Server, folder: Path, capsys: Captured) -> None:
    assert cli.main(["data", "get", "small"]) == 0
    captured = capsys.readouterr()
    assert "data/small/words.bin: downloaded" in captured.out
    assert "HEADWISE_DATA=data headwise train task=language" in captured.out
    assert captured.err == "", "no bar where no terminal is"


# Interrupted


def test_a_broken_download_goes_on_where_it_stopped(server: Server, folder: Path, capsys: Captured) -> None:
    server.breaks_after = 100_000
    message = refused(capsys, "get", "small")
    assert "no connection (closed after 100,000 of 307,200 bytes); the same command goes on from" in message
    part = folder / "words.bin.part"
    assert part.read_bytes() == WORDS[:100_000]
    assert not (folder / "words.bin").exists()
    get(capsys)
    assert (folder / "words.bin").read_bytes() == WORDS
    assert not part.exists()
    assert server.asked[:2] == [("words.bin", None), ("words.bin", "bytes=100000-")]


def test_a_server_that_cannot_resume_sends_the_whole_file(server: Server, folder: Path, capsys: Captured) -> None:
    """A program that appends the answer all the same would have the beginning twice."""
    server.ranges = False
    server.breaks_after = 100_000
    refused(capsys, "get", "small")
    get(capsys)
    assert (folder / "words.bin").read_bytes() == WORDS
    assert [wanted for name, wanted in server.asked if name == "words.bin"] == [None, "bytes=100000-"]


def test_it_may_break_more_than_once(server: Server, folder: Path, capsys: Captured) -> None:
    for expected in (70_000, 140_000, 210_000, 280_000):
        server.breaks_after = 70_000
        refused(capsys, "get", "small")
        assert (folder / "words.bin.part").stat().st_size == expected
    get(capsys)
    assert (folder / "words.bin").read_bytes() == WORDS


def test_a_part_that_is_whole_already_only_gets_its_name(server: Server, folder: Path, capsys: Captured) -> None:
    folder.mkdir(parents=True)
    (folder / "words.bin.part").write_bytes(WORDS)
    get(capsys)
    assert (folder / "words.bin").read_bytes() == WORDS
    assert len(server.asked) == 2


@pytest.mark.parametrize("part", [b"x" * 1000, WORDS[:-1] + b"?", WORDS + b"more"], ids=["other", "whole", "longer"])
def test_a_part_of_something_else_is_thrown_away_and_all_is_fetched(
    server: Server, folder: Path, capsys: Captured, part: bytes
) -> None:
    folder.mkdir(parents=True)
    (folder / "words.bin.part").write_bytes(part)
    get(capsys)
    assert (folder / "words.bin").read_bytes() == WORDS
    assert server.asked[:2] == [("words.bin", f"bytes={len(part)}-"), ("words.bin", None)]


def test_a_file_without_a_sum_is_never_put_together_from_two(server: Server, folder: Path, capsys: Captured) -> None:
    folder.mkdir(parents=True)
    (folder / "LICENCE.part").write_bytes(b"Do nothing")
    get(capsys)
    assert (folder / "LICENCE").read_bytes() == LICENCE
    assert server.asked[-1] == ("LICENCE", None)


def test_ctrl_c_keeps_what_came_and_says_how_to_go_on(
    server: Server, folder: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    def pressed(*arguments: object) -> dict[str, bool]:
        raise KeyboardInterrupt

    monkeypatch.setattr(data_get, "get", pressed)
    assert cli.main(["data", "get", "small", "output=my data"]) == 130
    assert "continue with: headwise data get small 'output=my data'" in capsys.readouterr().err


# Refused


def test_another_content_is_fetched_again_once_and_then_refused(server: Server, folder: Path, capsys: Captured) -> None:
    server.files["small/words.bin"] = WORDS[:-1] + b"?"
    message = refused(capsys, "get", "small")
    assert f"{server.home}words.bin: not the published file, twice" in message
    assert hashlib.sha256(WORDS).hexdigest() in message
    assert server.asked == [("words.bin", None)] * 2
    assert list(folder.iterdir()) == []


def test_a_file_of_that_name_with_another_content_is_left_alone(server: Server, folder: Path, capsys: Captured) -> None:
    folder.mkdir(parents=True)
    (folder / "words.bin").write_bytes(b"my own")
    assert "words.bin: is there, but is not the published file" in refused(capsys, "get", "small")
    assert (folder / "words.bin").read_bytes() == b"my own"
    assert server.asked == []


def test_without_a_network_nothing_is_written(
    server: Server, folder: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    port = closed.server_address[1]
    closed.server_close()
    monkeypatch.setitem(DATA_SETS, "small", DataSet(f"http://127.0.0.1:{port}/", {"a": None}, "ours", "task=language"))
    message = refused(capsys, "get", "small")
    assert message == f"headwise: http://127.0.0.1:{port}/a: no connection (Connection refused)"
    assert not folder.exists()


def test_a_file_that_the_server_lacks_is_named_and_what_came_before_stays(
    server: Server, folder: Path, capsys: Captured
) -> None:
    del server.files["small/LICENCE"]
    assert f"{server.home}LICENCE: the server answers 404 Not Found" in refused(capsys, "get", "small")
    assert [file.name for file in folder.iterdir()] == ["words.bin"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "data: what?; write headwise data get <name>"),
        (["fetch"], "data fetch: unknown; write headwise data get <name>"),
        (["get"], "data get: which name? write headwise data get <name>"),
        (["get", "a", "b"], "data get b: a word too many"),
        (["get", "ud_de_gsd"], "data get ud_de_gsd: unknown data set; choose one of ud_en_ewt, tinyshakespeare"),
    ],
)
def test_a_mistake_is_one_line(words: list[str], message: str, folder: Path, capsys: Captured) -> None:
    assert message in refused(capsys, *words)
    assert not folder.exists()


def test_mazes_are_refused_by_one_line_where_nothing_can_be_written(
    tmp_path: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("file").touch()
    message = refused(capsys, "mazes", "output=a.npz", "picture=file/a.svg", "number=5")
    assert message.startswith("headwise: picture=file/a.svg: cannot be written: ")
    assert not Path("a.npz").exists()
    assert cli.main(["data", "mazes", "output=a.npz", "picture=a.svg", "number=5"]) == 0
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a.npz", "a.svg", "file"]


# What is published


def test_what_is_fetched_comes_over_a_connection_that_cannot_be_listened_to() -> None:
    assert {data_set.home.partition(":")[0] for data_set in DATA_SETS.values()} == {"https"}


def test_the_sums_are_those_of_the_files_in_use(data_folder: Path) -> None:
    for name, data_set in DATA_SETS.items():
        for file, sha256 in data_set.files.items():
            if sha256 is not None:
                assert download.digest(data_folder / name / file) == sha256


def test_an_unknown_name_is_an_input_error_in_python_too(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="unknown data set"):
        data_sets.get("nowhere", tmp_path, lambda file, done, total: None)
