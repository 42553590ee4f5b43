"""The documentation site: nothing is left out, nothing is loaded from elsewhere, and drawings show what is computed."""

import importlib.util
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from types import ModuleType
from xml.etree import ElementTree

import pytest
import torch
import yaml

import headwise
from headwise.routing.gates import GateFunction

ROOT = Path(__file__).parents[1]
DRAWINGS = sorted((ROOT / "docs" / "drawings").glob("*.svg"))
SVG = "{http://www.w3.org/2000/svg}"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
README = (ROOT / "README.md").read_text(encoding="utf-8")
DRAWN: dict[str, GateFunction] = {
    "soft": headwise.Soft(),
    "sigmoid": headwise.Sigmoid(),
    "top_k": headwise.TopK(k=2),
    "top_p": headwise.TopP(threshold=0.6),
    "relu": headwise.ReLU(),
}


@pytest.fixture(scope="module")
def hooks() -> ModuleType:
    for package in ("mkdocs", "jupytext"):
        pytest.importorskip(package)
    spec = importlib.util.spec_from_file_location("site_hooks", ROOT / "docs" / "theme" / "hooks.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site as `make docs` builds it."""
    pytest.importorskip("mkdocs")
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--quiet", "--strict", "--site-dir", str(folder)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def foreign(text: str) -> list[str]:
    """What a page or a style sheet loads from another host; links to go to are not loaded."""
    tags = re.findall(r"<(?:script|link|img|iframe|source|video|audio|object|embed|use|image)\b[^>]*>", text)
    loads = [url for tag in tags for url in re.findall(r"""(?:src|href|srcset|data)=["']?([^"'\s>]+)""", tag)]
    loads += re.findall(r"""(?:url\(|@import\s+)["']?([^"')\s;]+)""", text)
    return [url for url in loads if re.match(r"(?:https?:)?//", url)]


def test_what_is_loaded_from_elsewhere_is_seen() -> None:
    planted = """<link href="https://fonts.example/css" rel="stylesheet"><script src=//cdn.example/a.js></script>
    <style>@import "https://x.example/a.css"; a { background: url('http://y.example/b.png') }</style>
    <a href="https://z.example">a link</a><img src="drawing.svg">"""
    hosts = [url.split("//")[1].split("/")[0] for url in foreign(planted)]
    assert hosts == ["fonts.example", "cdn.example", "x.example", "y.example"]


@pytest.mark.readme
def test_the_built_pages_load_nothing_from_elsewhere(site: Path) -> None:
    pages = [*site.rglob("*.html"), *site.rglob("*.css")]
    assert len(pages) > 50
    assert {file.name: found for file in pages if (found := foreign(file.read_text(encoding="utf-8")))} == {}


@pytest.mark.readme
def test_a_built_page_has_its_drawings_in_it_and_can_be_searched_from_the_disk(site: Path) -> None:
    concepts = (site / "concepts.html").read_text(encoding="utf-8")
    assert concepts.count('<svg class="drawing" role="img"') == len(DRAWINGS)
    assert "prefers-color-scheme: dark) {\n    svg" not in concepts, "the page has its own colours for them"
    index = (site / "search" / "search_index.js").read_text(encoding="utf-8")
    assert "RoutedAttention" in index
    assert not list(site.rglob("*.py"))


def test_every_section_of_the_readme_is_on_a_page(hooks: ModuleType) -> None:
    shown = {name for _, names in hooks.README.values() for name in names}
    assert set(hooks.sections(README)) == shown | set(hooks.ELSEWHERE)


def test_every_public_name_is_in_the_reference(hooks: ModuleType) -> None:
    named = [name for names in hooks.public().values() for name in names]
    assert sorted(named) == headwise.__all__
    assert "::: headwise.routing.gates.TopK" in hooks.api("routing")


def test_every_command_has_its_help_on_the_page(hooks: ModuleType) -> None:
    from headwise.commands.catalogue import commands

    text = hooks.pages()["commands.md"]
    assert [name for name in commands() if f"## headwise {name}\n" not in text] == []


def test_links_of_the_readme_hold_on_the_pages_made_of_it(hooks: ModuleType) -> None:
    made = hooks.pages()
    there = {*made, *(file.relative_to(ROOT / "docs").as_posix() for file in (ROOT / "docs").rglob("*.md"))}
    for name in ("start.md", "arms.md", "code.md"):
        links = [link for link in re.findall(r"\]\(([\w/]+\.\w+)", made[name]) if not link.startswith("http")]
        assert [link for link in links if link not in there and link not in hooks.COPIED] == [], name


@pytest.mark.parametrize("drawing", DRAWINGS, ids=lambda path: path.stem)
def test_a_drawing_is_legible_in_the_dark_and_has_a_name(drawing: Path) -> None:
    """Colours are variables alone, which the dark scheme gives other values."""
    text = drawing.read_text(encoding="utf-8")
    style, rest = re.findall(r"<style>.*?</style>", text, re.S)[0], re.sub(r"<style>.*?</style>", "", text, flags=re.S)
    assert re.findall(r'(?:fill|stroke)="(?!none|var\(--)[^"]*"', rest) == []
    light, dark = (dict(re.findall(r"--(\w+): (#\w+)", part)) for part in style.split("@media"))
    used = set(re.findall(r"var\(--(\w+)\)", rest))
    assert used <= light.keys() == dark.keys()
    assert ElementTree.parse(drawing).getroot().findtext(f"{SVG}title")
    for colours in (light, dark):
        for name in ("ink", "dim", "hot", "on"):
            assert contrast(colours[name], colours["paper"]) >= 4.5, f"{name} on paper"


def contrast(one: str, other: str) -> float:
    """The ratio of WCAG 2, from 1 to 21."""

    def luminance(colour: str) -> float:
        digits = colour[1:] if len(colour) == 7 else "".join(2 * digit for digit in colour[1:])
        parts = [int(digits[place : place + 2], 16) / 255 for place in (0, 2, 4)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))

    lighter, darker = sorted((luminance(one), luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def test_contrast_of_black_on_white_is_21() -> None:
    assert contrast("#000", "#ffffff") == pytest.approx(21)


def test_the_gates_drawn_are_the_gates_computed() -> None:
    root = ElementTree.parse(ROOT / "docs" / "drawings" / "gates.svg").getroot()
    logits = torch.tensor([float(bar.attrib["data-logit"]) for bar in root.iter() if "data-logit" in bar.attrib])
    rows = [part for part in root.iter(f"{SVG}g") if "data-gate-function" in part.attrib]
    assert [row.attrib["data-gate-function"] for row in rows] == list(DRAWN)
    for row in rows:
        drawn = torch.tensor([float(text.attrib["data-gate"]) for text in row.iter() if "data-gate" in text.attrib])
        gate = DRAWN[row.attrib["data-gate-function"]]
        computed = gate(logits.view(2, 1, 6), torch.tensor(1.0), None, training=False).weight  # two tokens, six heads
        torch.testing.assert_close(drawn.view(2, 1, 6), computed, atol=0.006, rtol=0)


def test_badges_tell_the_truth() -> None:
    badges = re.findall(r"!\[([^\]]*)\]\(https://img\.shields\.io/badge/([^)]*)\)", README)
    least = PROJECT["requires-python"].removeprefix(">=")
    (torch_,) = (line for line in PROJECT["dependencies"] if line.startswith("torch"))
    low, below = re.findall(r"\d+\.\d+", torch_)
    major, minor = below.split(".")
    high = f"{major}.{int(minor) - 1}"
    assert [alt for alt, _ in badges] == [
        f"Python {least}+",
        f"torch {low} to {high}",
        f"Licence {PROJECT['license']}",
    ]
    assert [url for _, url in badges] == [
        f"python-{least}%2B-blue",
        f"torch-{low}%20to%20{high}-blue",
        f"licence-{PROJECT['license'].replace('-', '--')}-blue",
    ]
    assert README.count("img.shields.io") == len(badges), "every badge is one of these"


def test_the_changelog_has_the_version_and_says_where_it_stands() -> None:
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    heads = re.findall(r"^## \[(.*?)\]", text, re.M)
    assert heads[0] == "Unreleased"
    assert PROJECT["version"] in text
    kinds = {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
    assert set(re.findall(r"^### (.*)$", text, re.M)) <= kinds
    cited = re.search(r"^version: (.*)$", (ROOT / "CITATION.cff").read_text(encoding="utf-8"), re.M)
    assert cited is not None
    assert cited[1] == PROJECT["version"]


def test_nothing_is_published_that_was_not_tested_and_no_token_is_kept() -> None:
    flow = yaml.safe_load((ROOT / ".github" / "workflows" / "release.yml").read_text(encoding="utf-8"))
    assert flow[True] == {"push": {"tags": ["v*"]}}, "on: (which YAML reads as true)"
    jobs = flow["jobs"]
    assert jobs["publish"]["needs"] == "test"
    assert jobs["test"]["needs"] == "build"
    assert jobs["publish"]["permissions"] == {"id-token": "write"}
    assert "secrets." not in (ROOT / ".github" / "workflows" / "release.yml").read_text(encoding="utf-8")
    assert {f"Python {version}" for version in jobs["test"]["strategy"]["matrix"]["python"]} >= {
        f"Python {PROJECT['requires-python'].removeprefix('>=')}"
    }


def test_the_checks_of_the_repository_are_those_of_the_workflow() -> None:
    flow = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8"))
    assert [step["run"] for step in flow["jobs"]["checks"]["steps"] if "run" in step] == [".ci/run"]
    assert " make site " in (ROOT / ".ci" / "run").read_text(encoding="utf-8")
