"""A server that speaks as much of the Hugging Face Hub's protocol as pushing and pulling a model takes."""

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

TOKEN = "hf_of_the_tests"


@dataclass
class Hub:
    """What the server has, and what it was asked.

    Attributes:
        address: of the server.
        files: repository -> path -> content.
        requests: method and path, in the order of their coming.
        status: with which every request is answered in place of what it asks for.
    """

    address: str = ""
    files: dict[str, dict[str, bytes]] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    status: int | None = None

    def revision(self, repository: str) -> str:
        """A commit that changes with the content."""
        found = hashlib.sha1(usedforsecurity=False)
        for name, content in sorted(self.files[repository].items()):
            found.update(name.encode() + content)
        return found.hexdigest()


@contextmanager
def serving() -> Iterator[Hub]:
    """A server on this machine, while the block lasts."""
    hub = Hub()

    class Handler(_Handler):
        own = hub

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    hub.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    own: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        self._noted()
        path = unquote(urlsplit(self.path).path)
        if self.own.status is not None:
            return self._json({"error": "refused by the test"}, self.own.status)
        if path.startswith("/api/models/"):
            repository = "/".join(path.split("/")[3:5])
            if repository not in self.own.files:
                return self._missing("RepoNotFound")
            names = [{"rfilename": name} for name in self.own.files[repository]]
            if "/tree/" in path:
                entries = [
                    {"type": "file", "path": name, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}
                    for name, content in self.own.files[repository].items()
                ]
                return self._json(entries)
            return self._json({"id": repository, "sha": self.own.revision(repository), "siblings": names})
        repository, _, rest = path.lstrip("/").partition("/resolve/")
        name = rest.partition("/")[2]
        content = self.own.files.get(repository, {}).get(name)
        if content is None:
            return self._missing("EntryNotFound")
        self.send_response(200)
        self.send_header("ETag", f'"{hashlib.sha1(content, usedforsecurity=False).hexdigest()}"')
        self.send_header("X-Repo-Commit", self.own.revision(repository))
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)
        return None

    do_HEAD = do_GET  # noqa: N815 - the name that http.server calls

    def do_POST(self) -> None:
        self._noted()
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length) if length else self._chunks()
        path = unquote(urlsplit(self.path).path)
        if self.own.status is not None:
            return self._json({"error": "refused by the test"}, self.own.status)
        if path == "/api/validate-yaml":
            return self._json({"errors": [], "warnings": []})
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            return self._json({"error": "Invalid credentials"}, 401)
        if path == "/api/repos/create":
            asked = json.loads(body)
            repository = f"{asked['organization']}/{asked['name']}" if asked.get("organization") else asked["name"]
            self.own.files.setdefault(repository, {})
            return self._json({"url": f"{self.own.address}/{repository}"})
        repository = "/".join(path.split("/")[3:5])
        if "/preupload/" in path:
            mode = {"uploadMode": "regular", "shouldIgnore": False}
            return self._json({"files": [{"path": one["path"], **mode} for one in json.loads(body)["files"]]})
        assert "/commit/" in path, path
        for line in body.decode().splitlines():
            entry = json.loads(line)
            if entry["key"] == "file":
                self.own.files[repository][entry["value"]["path"]] = base64.b64decode(entry["value"]["content"])
        return self._json(
            {"commitUrl": f"{self.own.address}/{repository}/commit/1", "commitOid": self.own.revision(repository)}
        )

    def _chunks(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return b""
        found = b""
        while size := int(self.rfile.readline(), 16):
            found += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return found

    def _noted(self) -> None:
        self.own.requests.append(f"{self.command} {self.path} {self.headers.get('Authorization', '')}")

    def _missing(self, code: str) -> None:
        self._json({"error": "not found"}, 404, {"X-Error-Code": code})

    def _json(self, value: Any, status: int = 200, headers: dict[str, str] | None = None) -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        for key, text in (headers or {}).items():
            self.send_header(key, text)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
