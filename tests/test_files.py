"""Reading and writing: what is bounded, what is refused, what is left behind."""

import io
import math
import os
import stat
import threading
import zipfile
from pathlib import Path

import numpy as np
import pytest

from headwise import files
from headwise.errors import InputError, StorageError
from headwise.files import write_text

READERS = {
    "bytes": files.read_bytes,
    "text": files.read_text,
    "json": files.read_json,
    "records": files.read_records,
    "yaml": files.read_yaml,
    "arrays": lambda path: files.read_arrays(path, ("a",)),
}


@pytest.mark.parametrize("reader", READERS)
def test_what_is_no_regular_file_is_named_and_not_waited_for(reader, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    places = {"pipe": "not a regular file", "": r"cannot be read \(Is a directory\)", "none": "not found"}
    for name, message in places.items():
        with pytest.raises(InputError, match=rf"{tmp_path / name}: {message}$"):
            READERS[reader](tmp_path / name)
    with pytest.raises(InputError, match=r"^/dev/zero: not a regular file$"):
        READERS[reader](Path("/dev/zero"))


@pytest.mark.parametrize("content", ["a: 1".encode("utf-16"), b"a\0b", "ä".encode("latin-1")])
def test_another_encoding_is_named_with_its_byte(content, tmp_path):
    (tmp_path / "a").write_bytes(content)
    with pytest.raises(InputError, match=r"/a: (not|no text in) UTF-8 \(byte \d( is 0)?\); save it as UTF-8$"):
        files.read_text(tmp_path / "a")


def test_a_stream_is_read_as_it_comes_and_a_pipe_without_a_writer_is_empty(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with files.open_stream(tmp_path / "pipe") as file:
        assert file.read() == b""
    reader, writer = os.pipe()
    late = threading.Timer(0.05, lambda: (os.write(writer, b"later"), os.close(writer)))
    late.start()
    with files.open_stream(Path(f"/dev/fd/{reader}")) as file:
        assert file.read() == b"later", "it waits for a writer that is there"
    late.join()
    os.close(reader)


def test_arrays_come_back_and_a_bomb_of_them_does_not(tmp_path):
    np.savez(tmp_path / "good.npz", a=np.arange(4), b=np.ones(2))
    assert files.read_arrays(tmp_path / "good.npz", ("a",))["a"].tolist() == [0, 1, 2, 3]
    np.savez_compressed(tmp_path / "bomb.npz", a=np.zeros(2**22, np.uint8))
    assert (tmp_path / "bomb.npz").stat().st_size < 2**14
    with pytest.raises(InputError, match=r"bomb.npz: unpacks to 4 MiB; at most 1 are read"):
        files.read_arrays(tmp_path / "bomb.npz", ("a",), limit=2**20)


@pytest.mark.parametrize(("read", "name"), [(files.read_json, "a.json"), (files.read_yaml, "a.yaml")])
def test_what_is_nested_deeper_than_a_walk_through_it_may_go_is_refused(read, name, tmp_path):
    path = tmp_path / name
    path.write_text("[" * 90 + "1" + "]" * 90)
    files.finite(read(path))
    for text in (
        "[" * 400 + "1" + "]" * 400,
        '{"a": ' * 200 + "1" + "}" * 200,
    ):  # as deep as the parser lets pass, less
        path.write_text(text)
        with pytest.raises(InputError, match="nested too deep"):
            read(path)


def test_damaged_arrays_are_one_line(tmp_path):
    good, path = io.BytesIO(), tmp_path / "bad.npz"
    np.savez(good, a=np.arange(4))
    content = good.getvalue()
    damaged = [content[:place] for place in range(0, len(content), 7)]
    damaged += [content[:place] + b"\xff" + content[place + 1 :] for place in range(0, len(content), 3)]
    with zipfile.ZipFile(tmp_path / "huge.npz", "w") as archive:
        header = b"{'descr': '<i8', 'fortran_order': False, 'shape': (1000000000000000,), }"
        archive.writestr("a.npy", b"\x93NUMPY\x01\x00" + (len(header) + 1).to_bytes(2, "little") + header + b"\n")
    for one in (*damaged, (tmp_path / "huge.npz").read_bytes()):
        path.write_bytes(one)
        try:
            found = str(files.read_arrays(path, ("a",))["a"].tolist())
        except InputError as error:
            found = str(error)
        if found != "[0, 1, 2, 3]":
            assert found.startswith(f"{path}: damaged, not a whole .npz file (")
            assert len(found) < len(str(path)) + 220
            assert "\n" not in found


def test_a_folder_is_made_once_and_not_in_place_of_a_file(tmp_path):
    files.make_folder(tmp_path / "a" / "b")
    files.make_folder(tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b").is_dir()
    (tmp_path / "file").touch()
    for path in (tmp_path / "file", tmp_path / "file" / "inside"):
        with pytest.raises(StorageError, match=rf"^{path}: cannot be written \((File exists|Not a directory)"):
            files.make_folder(path)


@pytest.mark.parametrize("name", ["folder", "none/a", "x" * 300])
def test_a_place_that_cannot_be_written_is_one_line_and_stays_as_it_was(name, tmp_path):
    (tmp_path / "folder").mkdir()
    with pytest.raises(StorageError, match=r": cannot be written \("):
        files.write_text(tmp_path / name, "text")
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_the_home_of_nobody_is_one_line():
    assert files.user_path("~/a") == Path.home() / "a"
    with pytest.raises(InputError, match=r"^~nobody-of-that-name/a: no such home; write the folder out$"):
        files.user_path("~nobody-of-that-name/a")


def test_a_link_to_itself_is_replaced_by_what_is_written(tmp_path):
    place = tmp_path / "plan.json"
    place.symlink_to("plan.json")
    files.write_json(place, {"a": 1})
    assert not place.is_symlink()
    assert files.read_mapping(place) == {"a": 1}


def test_an_array_comes_back_and_a_header_that_promises_more_than_there_is_does_not(tmp_path):
    place = tmp_path / "values.npy"
    np.save(place, np.arange(3.0))
    assert files.read_array(place).tolist() == [0, 1, 2]
    for broken in (
        place.read_bytes()[:-8],
        place.read_bytes().replace(b"(3,), }", b"(3" + b"0" * 12 + b",), }"),
        b"\x93NUMPY",
        b"",
    ):
        place.write_bytes(broken)
        with pytest.raises(InputError, match=r"values\.npy: damaged, not a whole \.npy file"):
            files.read_array(place)


@pytest.mark.parametrize(
    ("record", "kind", "said"),
    [
        ({}, int, "state: update is missing, expected a whole number"),
        ({"update": True}, int, "state: update is true or false, expected a whole number"),
        ({"update": "3"}, float, "state: update is a word, expected a number"),
        ({"update": 10**400}, float, "state: update is a whole number, expected a number"),
        ({"update": None}, dict, "state: update is nothing, expected keys and values"),
    ],
)
def test_a_value_of_another_kind_is_named_with_its_place(record, kind, said):
    with pytest.raises(InputError) as error:
        files.typed(record, "update", kind, "state")
    assert str(error.value) == said


def test_a_whole_number_is_a_number_and_what_is_not_finite_stays():
    assert files.typed({"a": 3}, "a", float, "state") == 3.0
    assert math.isnan(files.typed({"a": math.nan}, "a", float, "state"))


@pytest.mark.parametrize("kind", ["pipe", "link"])
def test_what_is_no_regular_file_is_not_replaced_by_one(kind: str, tmp_path: Path) -> None:
    """A link to a device, say: written as root, a file took the device's place."""
    place, pipe = tmp_path / "place", tmp_path / "pipe"
    os.mkfifo(pipe)
    if kind == "link":
        place.symlink_to(pipe)
    else:
        place = pipe
    with pytest.raises(InputError, match="not a regular file; choose another place"):
        write_text(place, "text")
    assert stat.S_ISFIFO(pipe.stat().st_mode)
