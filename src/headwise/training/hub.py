"""Models to and from the Hugging Face Hub, any server that speaks its protocol, or a folder."""

import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from headwise.errors import InputError, in_a_line
from headwise.files import new_folder, user_path
from headwise.schema import short
from headwise.training.card import Card
from headwise.training.loadable import find_run
from headwise.training.sharing import FILES, card_of, from_hub, to_hub

EXTRA = "pip install 'headwise[hub]'"
_REPOSITORY = re.compile(r"[\w.-]{1,96}/[\w.-]{1,96}", re.ASCII)


class HubError(RuntimeError):
    """A server cannot be reached, or refuses; the command line prints the message and exits with code 1."""


@dataclass(frozen=True)
class Place:
    """Where a model is shared.

    Attributes:
        folder: on this machine; null for a repository.
        repository: owner/name; null for a folder.
        endpoint: the server of a repository; null is HF_ENDPOINT, or else huggingface.co.
    """

    folder: Path | None = None
    repository: str | None = None
    endpoint: str | None = None

    @property
    def address(self) -> str:
        """Address of the repository."""
        return f"{self.endpoint or _default_endpoint()}/{self.repository}"

    @property
    def name(self) -> str:
        """Name of the model there."""
        return self.repository.partition("/")[2] if self.repository else str((self.folder or Path()).absolute().name)


def place_of(text: str) -> Place:
    """A place as the user typed it: owner/name is a repository, ./folder, /folder or ~/folder a folder, and
    https://server/owner/name a repository on that server.

    Raises:
        InputError: none of these.
    """
    if "://" in text:
        parts = urlsplit(text)
        path = parts.path.strip("/")
        if parts.scheme not in ("http", "https") or not parts.netloc or not _REPOSITORY.fullmatch(path):
            raise InputError(f"{short(text)}: no address of a repository; write https://server/owner/name")
        endpoint = f"{parts.scheme}://{parts.netloc}"
        return Place(repository=path, endpoint=None if endpoint == _default_endpoint() else endpoint)
    if text.startswith((".", "/", "~")) or os.path.isabs(text):
        return Place(folder=user_path(text))
    if _REPOSITORY.fullmatch(text):
        return Place(repository=text)
    raise InputError(
        f"{short(text)}: neither a repository nor a folder; write owner/name, ./folder or https://server/owner/name"
    )


def _default_endpoint() -> str:
    return os.environ.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/")


def push(
    run: str | Path, target: str, *, licence: str | None = None, data: str | None = None, private: bool = False
) -> str:
    """Share a finished run: its weights, settings and card.

    Args:
        run: its directory, or the name of a model that is loaded by name.
        target: owner/name on the Hugging Face Hub, which is made unless it is there; the address of one on another
            server, to which the token of the Hub is sent; or ./a/new/folder.
        licence: of the weights, an SPDX identifier such as Apache-2.0; it must be given where the run has no card.
        data: what the run was trained on, in words, for the card.
        private: make the repository one that others do not see.

    Returns:
        Where it is: a folder, or an address.

    Raises:
        InputError: no finished run, no licence, or a place that is none.
        HubError: the server cannot be reached, or refuses.
    """
    place = place_of(target)
    source = f"./{place.name}" if place.folder is not None else place.repository if place.endpoint is None else target
    card = card_of(find_run(run), str(source), place.name, licence, data)
    if card.licence is None:
        raise InputError(f"{run}: has no licence; say under which its weights are shared: licence=Apache-2.0")
    if place.folder is not None:
        to_hub(find_run(run), place.folder, card)
        return str(place.folder)
    library = _library()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "model"
        to_hub(find_run(run), folder, card)
        with _reported(place):
            api = library.HfApi(endpoint=place.endpoint, library_name="headwise")
            api.create_repo(place.repository, private=private, exist_ok=True)
            api.upload_folder(repo_id=place.repository, folder_path=folder, commit_message=_message(card))
    return place.address


def pull(source: str, output: str | Path | None = None, *, revision: str | None = None) -> Path:
    """Fetch a shared model as the directory of a run, which everything that takes a run takes.

    Args:
        source: as for `push`.
        output: a new directory; default runs/ and its name.
        revision: branch, tag or commit of a repository; default its main branch.

    Returns:
        The directory.

    Raises:
        InputError: a place that is none, a directory that is taken, or files that are no model of headwise.
        HubError: the server cannot be reached, or has no such repository.
    """
    place = place_of(source)
    run = user_path(output) if output is not None else Path("runs") / place.name
    with new_folder(run):  # said before anything is fetched; an empty one that was there is made anew
        pass
    run.rmdir()
    run.parent.mkdir(parents=True, exist_ok=True)
    if place.folder is not None:
        if revision is not None:
            raise InputError(f"revision={revision}: {source} is a folder, which has none; leave it out")
        from_hub(place.folder, run)
        return run
    library = _library()
    with tempfile.TemporaryDirectory() as scratch:
        with _reported(place):
            library.snapshot_download(
                place.repository,
                revision=revision,
                local_dir=scratch,
                allow_patterns=list(FILES),
                endpoint=place.endpoint,
                token=None if place.endpoint is None else False,  # which is not for other servers to see
                library_name="headwise",
            )
        try:
            from_hub(Path(scratch), run)
        except InputError as error:
            raise InputError(str(error).replace(f"{scratch}/", f"{source}: ").replace(scratch, source)) from None
    return run


def _message(card: Card) -> str:
    return f"{card.name}, by headwise {card.version}"


def _library() -> Any:
    """huggingface_hub, which an extra brings.

    Raises:
        InputError: it is not installed.
    """
    try:
        import huggingface_hub
        from huggingface_hub.utils import disable_progress_bars
    except ImportError:
        raise InputError(f"huggingface_hub is not installed, which repositories need: {EXTRA}") from None
    disable_progress_bars()
    return huggingface_hub


@contextmanager
def _reported(place: Place) -> Iterator[None]:
    """Inside the block what a server answers, or that none does, becomes one line.

    Raises:
        HubError: with the reason.
    """
    import httpx
    from huggingface_hub import errors

    where = place.address
    try:
        yield
    except errors.RepositoryNotFoundError:
        raise HubError(f"{where}: no such repository, or none that you may see; hf auth login, or HF_TOKEN") from None
    except errors.RevisionNotFoundError:
        raise HubError(f"{where}: no such revision") from None
    except errors.LocalTokenNotFoundError:
        raise HubError(f"{where}: needs a login; hf auth login, or HF_TOKEN") from None
    except errors.HfHubHTTPError as error:
        code = error.response.status_code if error.response is not None else None
        remedy = "; hf auth login, or HF_TOKEN with the right to write" if code in (401, 403) else ""
        raise HubError(f"{where}: the server refuses ({in_a_line(error)}){remedy}") from None
    except (LookupError, TypeError) as error:  # huggingface_hub on an answer that is none of the Hub's
        raise HubError(f"{where}: the server answers as no Hub does ({type(error).__name__}: {error})") from None
    except (errors.OfflineModeIsEnabled, errors.LocalEntryNotFoundError, httpx.HTTPError, OSError) as error:
        raise HubError(f"{where}: cannot be reached ({in_a_line(error)})") from None
