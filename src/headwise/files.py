"""Files: what is read is bounded and checked, what is written appears whole or not at all.

Everything that headwise reads from a path of the user's, and everything that it writes, passes through here. What is
wrong with a file becomes one `InputError` that names it; a disk that is full, or a directory that takes nothing, one
`StorageError`.
"""

import contextlib
import errno
import io
import json
import math
import os
import shutil
import stat
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, BinaryIO, TypeVar

from headwise.errors import InputError, StorageError

T = TypeVar("T")

MEBIBYTE = 2**20
TEXT_LIMIT = 256 * MEBIBYTE  # of a file that is read whole; a corpus of this size is 50 million words
ARRAYS_LIMIT = 4096 * MEBIBYTE  # of a file of arrays, unpacked; four million mazes of 30 x 30 cells
UNWRITABLE = (
    *(errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO),
    *(errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG),
)


def user_path(text: str | os.PathLike[str]) -> Path:
    """A path as the user typed it; a leading ~ is the home.

    Raises:
        InputError: the home of a user that there is not.
    """
    try:
        return Path(text).expanduser()
    except RuntimeError:
        raise InputError(f"{os.fspath(text)}: no such home; write the folder out") from None


def read_bytes(path: Path, limit: int = TEXT_LIMIT) -> bytes:
    """The content of a regular file of at most `limit` bytes.

    Raises:
        InputError: it is missing, not a regular file, may not be read, or is too large.
    """
    with open_regular(path) as file:
        try:
            content = file.read(limit + 1)
        except OSError as error:
            raise InputError(f"{path}: cannot be read ({_reason(error)})") from None
    if len(content) > limit:
        raise InputError(f"{path}: larger than the {limit / MEBIBYTE:.0f} MiB that are read of such a file")
    return content


def open_stream(path: Path) -> BinaryIO:
    """A file that is read piece by piece, however large; a pipe, too, which is empty where nobody writes to it.

    Raises:
        InputError: it is missing, a folder, or may not be read.
    """
    try:
        # Without blocking: opening a pipe that nobody writes to would wait for ever.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        try:
            os.set_blocking(descriptor, True)
            return os.fdopen(descriptor, "rb")
        except OSError:  # a folder
            os.close(descriptor)
            raise
    except FileNotFoundError:
        raise InputError(f"{path}: not found") from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        raise InputError(f"{path}: cannot be read ({_reason(error)})") from None


@contextlib.contextmanager
def open_regular(path: Path) -> Iterator[BinaryIO]:
    """A regular file, for readers that take one themselves.

    Raises:
        InputError: as `open_stream`; or it is a pipe, a device or the like.
    """
    with open_stream(path) as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise InputError(f"{path}: not a regular file")
        yield file


def read_text(path: Path, limit: int = TEXT_LIMIT) -> str:
    """The text of a file in UTF-8, with or without a byte order mark; line ends are kept as they are.

    Raises:
        InputError: as `read_bytes`; or it is in another encoding, or no text.
    """
    content = read_bytes(path, limit)
    if (place := content.find(b"\0")) >= 0:
        raise InputError(f"{path}: no text in UTF-8 (byte {place} is 0); save it as UTF-8")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 (byte {error.start}); save it as UTF-8") from None


def read_json(path: Path, limit: int = TEXT_LIMIT) -> Any:
    """The value in a JSON file.

    Raises:
        InputError: as `read_text`; or it is not JSON.
    """
    return parse_json(read_text(path, limit), str(path))


def read_mapping(path: Path, limit: int = TEXT_LIMIT) -> dict[str, Any]:
    """The keys and values in a JSON file.

    Raises:
        InputError: as `read_json`; or it holds something else.
    """
    return parse_mapping(read_text(path, limit), str(path))


def read_records(path: Path, limit: int = TEXT_LIMIT) -> list[dict[str, Any]]:
    """The lines of a JSONL file, each a mapping; a last line that was cut off while it was written is left out.

    Raises:
        InputError: as `read_text`; or a line is damaged, with its number.
    """
    lines = read_text(path, limit).split("\n")
    whole, cut = lines[:-1], lines[-1]
    found = [parse_mapping(line, f"{path}, line {number}") for number, line in enumerate(whole, 1) if line.strip()]
    if cut.strip():
        with contextlib.suppress(InputError):
            found.append(parse_mapping(cut, str(path)))
    return found


def parse_json(text: str, where: str) -> Any:
    """The value of a JSON text; `where` names its file in the message.

    Raises:
        InputError: it is not JSON, or nested too deep to be read.
    """
    try:
        return _shallow(json.loads(text))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{where}: damaged, not JSON ({_reason(error)})") from None


def parse_mapping(text: str, where: str) -> dict[str, Any]:
    """The keys and values of a JSON text; `where` names its file in the message.

    Raises:
        InputError: as `parse_json`; or it holds something else.
    """
    content = parse_json(text, where)
    if not isinstance(content, dict):
        raise InputError(f"{where}: holds {_kind(content)}, expected keys and values")
    return content


def read_yaml(path: Path, limit: int = MEBIBYTE) -> Any:
    """The plain values in a YAML file; no tags, one document.

    Raises:
        InputError: as `read_text`; or it is not YAML.
    """
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # in C, if PyYAML was built with it: 15 times faster
    text = read_text(path, limit)
    try:
        return _shallow(yaml.load(text, loader))
    except (yaml.YAMLError, ValueError, TypeError, RecursionError, OverflowError) as error:  # PyYAML lets some escape
        raise InputError(f"{path}: not readable as YAML ({_reason(error)})") from None


def make_folder(path: Path) -> None:
    """Make a folder, and those above it, unless it is there.

    Raises:
        StorageError: something else has that name, or the place takes nothing.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _unwritable(path, error) from None


def read_arrays(path: Path, names: Sequence[str], limit: int = ARRAYS_LIMIT) -> dict[str, Any]:
    """Numpy arrays of a .npz file by their names, at most `limit` bytes of them; nothing in it is executed.

    Raises:
        InputError: it is missing or not a regular file, is damaged, lacks an array, or holds too much.
    """
    import numpy as np

    with open_regular(path) as file:
        try:
            with zipfile.ZipFile(file) as archive:
                size = sum(part.file_size for part in archive.infolist())
            if size <= limit:
                with np.load(file, allow_pickle=False) as stored:
                    return {name: stored[name] for name in names}
        except Exception as error:  # a damaged archive fails in a dozen ways: zipfile, zlib, tokenize, numpy
            raise InputError(f"{path}: damaged, not a whole .npz file ({_reason(error)})") from None
    raise InputError(f"{path}: unpacks to {size / MEBIBYTE:.0f} MiB; at most {limit / MEBIBYTE:.0f} are read")


def read_array(path: Path, limit: int = ARRAYS_LIMIT) -> Any:
    """The numpy array of a .npy file; nothing in it is executed.

    Raises:
        InputError: it is missing or not a regular file, or is damaged.
    """
    import numpy as np

    content = io.BytesIO(read_bytes(path, limit))
    try:
        return np.load(content, allow_pickle=False)
    except Exception as error:  # as above; MemoryError where the header speaks of more than the file holds
        raise InputError(f"{path}: damaged, not a whole .npy file ({_reason(error)})") from None


def typed(record: Mapping[str, Any], key: str, kind: type[T], where: object) -> T:
    """The value of a key where it is of that kind; a whole number is a float, too.

    Raises:
        InputError: it is missing or of another kind; names `where` it stands and the key.
    """
    value = record.get(key)
    if kind is float and type(value) is int and abs(value) < 2**63:
        value = float(value)
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        found = _kind(value) if key in record else "missing"
        raise InputError(f"{where}: {key} is {found}, expected {_NAMES.get(kind, kind.__name__)}")
    return value


@contextlib.contextmanager
def writes_to(path: Path) -> Iterator[None]:
    """Inside the block, a failure to write below `path` that is no fault of the program becomes one line.

    Raises:
        StorageError: there is no space, or the place cannot be written.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in UNWRITABLE:
            raise
        raise _unwritable(path, error) from None


@contextlib.contextmanager
def new_folder(folder: str | Path) -> Iterator[Path]:
    """A folder that appears under its name when the block has ended, and not at all if it fails.

    Raises:
        InputError: something is there already.
        StorageError: there is no space, or the place cannot be written.
    """
    place = user_path(folder)
    if place.exists() and not (place.is_dir() and not any(place.iterdir())):
        raise InputError(f"folder={place}: {'not empty' if place.is_dir() else 'a file'}; choose a new folder")
    temporary = place.absolute().with_name(f".{place.absolute().name}.{os.getpid()}.tmp")
    make_folder(temporary)
    try:
        with writes_to(place):
            yield temporary
            if place.exists():
                place.rmdir()
            temporary.rename(place)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


@contextlib.contextmanager
def writing(path: Path, durable: bool = True) -> Iterator[IO[bytes]]:
    """A binary file that takes the place of `path` when the block ends, and leaves nothing when it fails.

    It is synchronised to the disk before it is renamed, unless it need not outlive the machine (`durable`). A link
    stays a link, to the new content; an existing file's permissions are kept. The directory must exist.

    Raises:
        InputError: something other than a regular file is there: a device, say, which must not be replaced by one.
        StorageError: there is no space, or the place cannot be written.
    """
    target = Path(os.path.realpath(path))  # unlike `resolve` content with a link to itself, which is replaced
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        if target.exists() and not (target.is_file() or target.is_dir()):
            raise InputError(f"{path}: not a regular file; choose another place")
        with temporary.open("wb") as out:
            yield out
            out.flush()
            if durable:
                os.fsync(out.fileno())
        if target.exists():
            shutil.copymode(target, temporary)
        temporary.replace(target)
    except OSError as error:
        if error.errno not in UNWRITABLE:
            raise
        raise _unwritable(path, error) from None
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str, durable: bool = True) -> None:
    """Write a text in UTF-8, its line ends as they are (see `writing`)."""
    with writing(path, durable) as out:
        out.write(text.encode())


def write_json(path: Path, value: Any, durable: bool = True) -> None:
    """Write JSON with two spaces; a number that is not finite becomes null, as JSON has no name for it."""
    write_text(path, json.dumps(finite(value), indent=2, ensure_ascii=False, allow_nan=False) + "\n", durable)


def append_record(path: Path, record: Mapping[str, Any]) -> None:
    """Add one line to a JSONL file, whole or not at all.

    Raises:
        StorageError: there is no space, or the place cannot be written.
    """
    line = json.dumps(finite(record), ensure_ascii=False, allow_nan=False) + "\n"
    before = None
    try:
        with path.open("ab") as out:
            before = out.tell()
            out.write(line.encode())
    except OSError as error:
        if before is not None:
            with contextlib.suppress(OSError):
                os.truncate(path, before)
        if error.errno not in UNWRITABLE:
            raise
        raise _unwritable(path, error) from None


def finite(value: Any) -> Any:
    """The same plain data with null for numbers that JSON does not have (NaN, infinities)."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {str(key): finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(item) for item in value]
    return value


def _shallow(value: Any, deepest: int = 100) -> Any:
    """The value itself, if a walk through it by recursion comes to an end; what we write is ten deep at most."""
    level = [value]
    for _ in range(deepest):
        holders = {id(one): one for one in level if isinstance(one, (dict, list))}.values()  # once for all YAML aliases
        level = [item for holder in holders for item in (holder.values() if isinstance(holder, dict) else holder)]
        if not level:
            return value
    raise RecursionError


def _unwritable(path: Path, error: OSError) -> StorageError:
    try:
        free = shutil.disk_usage(os.path.realpath(path.parent)).free
        space = f"; {free / MEBIBYTE:.1f} MiB are free there"
    except OSError:
        space = ""
    return StorageError(f"{path}: cannot be written ({_reason(error)}{space})")


def _reason(error: BaseException) -> str:
    if isinstance(error, RecursionError):
        return "nested too deep"
    said = (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__
    text = " ".join(said.split())
    return text if len(text) <= 160 else text[:157] + "..."


_NAMES = {
    dict: "keys and values",
    list: "a list",
    str: "a word",
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    type(None): "nothing",
}


def _kind(value: Any) -> str:
    return _NAMES.get(type(value), type(value).__name__)
