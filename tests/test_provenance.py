"""Which source trained a run: its commit and whether it was clean, and nothing where there is no checkout."""

import subprocess
from pathlib import Path

import pytest

from headwise.provenance import source_code


def git(root: Path, *words: str) -> str:
    identity = ("-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false")
    done = subprocess.run(["git", *identity, "-C", str(root), *words], check=True, capture_output=True, text=True)
    return done.stdout.strip()


@pytest.fixture
def package(tmp_path: Path) -> Path:
    folder = tmp_path / "src" / "headwise"
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text("")
    (tmp_path / "notes.md").write_text("")
    return folder


def test_a_checkout_tells_its_commit_and_whether_the_package_was_changed(package: Path) -> None:
    root = package.parent.parent
    git(root, "init", "--quiet")
    assert "commit" not in source_code(package), "nothing is committed yet"
    git(root, "add", "-A")
    git(root, "commit", "--quiet", "-m", "first")
    source_code.cache_clear()
    assert source_code(package) | {"version": ""} == {
        "version": "",
        "commit": git(root, "rev-parse", "HEAD"),
        "dirty": False,
    }
    (root / "notes.md").write_text("outside the package")
    source_code.cache_clear()
    assert source_code(package)["dirty"] is False
    (package / "new.py").write_text("")
    source_code.cache_clear()
    assert source_code(package)["dirty"] is True


def test_an_installed_package_tells_its_version_alone(package: Path) -> None:
    assert source_code(package).keys() == {"version"}
    # A package installed somewhere inside a checkout of something else is not that checkout.
    inside = package.parent.parent / "venv" / "site-packages" / "headwise"
    inside.mkdir(parents=True)
    git(package.parent.parent, "init", "--quiet")
    assert source_code(inside).keys() == {"version"}
