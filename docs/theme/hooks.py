"""What mkdocs is told beside its settings: pages made of other files of the repository, and drawings within pages.

Nothing is written twice: the start is the README's, the API reference is the docstrings', the commands are the help
texts', and the notebooks are their scripts. A link that holds on GitHub, from README or a page of docs/, holds here.
"""

import ast
import html
import importlib.util
import inspect
import re
from pathlib import Path

import jupytext
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

import headwise
from headwise.commands.catalogue import Command, commands
from headwise.sources import Field

ROOT = Path(__file__).parents[2]
DRAWINGS = ROOT / "docs" / "drawings"

# Sections of the README by the page that shows them; "" is what stands before the first
README = {
    "start.md": ("Start in five minutes", ("Two commands", "What you can type")),
    "arms.md": ("Arms and tasks", ("Arms",)),
    "code.md": ("A map of the code", ("A map of the code",)),
}
ELSEWHERE = {"": "index.md", "Pretrained models": "pretrained.md"}  # their substance is on these pages
# Other files by their page, which links to them lead to
WHOLE = {"CHANGELOG.md": "changelog.md", "CONTRIBUTING.md": "contributing.md", "README.md": "start.md"}
COPIED = ("CITATION.cff", "LICENSE")

LAYERS = {
    "routing": "Gates, routers and attention that weighs its heads. Tensors only; nothing of iteration.",
    "reasoning": "Controllers, halting and refinement: what is done again, from where, and when it stops.",
    "models": "Arms, blocks and backbones, and the way from torch's modules and back.",
    "pretrained": "Routers in models of transformers, and heads removed from them.",
    "tasks": "What a task is. Those that come along are on pages of their own.",
    "training": "Configuration, runs, evaluation, and what trains a model of yours.",
    "lab": "Comparisons, scaling and the doctor.",
}
BESIDE = {"errors": "training", "plugins": "training"}  # modules that lie beside the layers


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are made, and the files that pages link to."""
    for name, text in pages().items():
        files.append(File.generated(config, name, content=text))
    for name in COPIED:
        files.append(File.generated(config, name, abs_src_path=str(ROOT / name)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Links out of docs/ lead to the pages made of those files; what the tests read is no text."""
    markdown = re.sub(r"^<!-- (?:not run|file): ?.*?-->\n", "", markdown, flags=re.M)
    for name, target in [*WHOLE.items(), *((name, name) for name in COPIED)]:
        markdown = markdown.replace(f"](../{name}", f"]({target}")
    return re.sub(r"\]\(\.\./(notebooks/\w+)\.py", r"](\1.md", markdown)


def on_page_content(content: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Put drawings into the page itself, where they take its colours; undo the escapes that code in tables needs."""
    content = re.sub(r'<img alt="([^"]*)" src="[^"]*drawings/(\w+)\.svg"\s*/?>', _drawing, content)
    return re.sub(r"<td.*?</td>", lambda cell: cell[0].replace("\\|", "|"), content, flags=re.S)


def pages() -> dict[str, str]:
    """The text of each page that is made, by its name."""
    found = {name: f"# {title}\n\n{_of_readme(sections)}" for name, (title, sections) in README.items()}
    for name in ("CHANGELOG.md", "CONTRIBUTING.md"):
        found[WHOLE[name]] = _without_docs((ROOT / name).read_text(encoding="utf-8"))
    for script in sorted((ROOT / "notebooks").glob("*.py")):
        found[f"notebooks/{script.stem}.md"] = notebook(script)
    found["commands.md"] = "\n\n".join([COMMANDS, *map(_command, commands().values())])
    found["api/index.md"] = f"# headwise\n\n{_index()}"
    return found | {f"api/{layer}.md": api(layer) for layer in LAYERS}


def sections(text: str) -> dict[str, str]:
    """The parts of a document by the headings of second level; "" is what stands before the first."""
    parts = re.split(r"^## (.*)\n", text, flags=re.M)
    return {"": parts[0], **dict(zip(parts[1::2], parts[2::2], strict=True))}


def notebook(script: Path) -> str:
    """A notebook's script as a page: its words, its code, and how it is run."""
    parts = []
    for cell in jupytext.read(script).cells:
        parts.append(cell.source if cell.cell_type == "markdown" else f"```python\n{cell.source}\n```")
    title, _, rest = parts[0].partition("\n")
    name = script.relative_to(ROOT).as_posix()
    how = f"`jupytext --to ipynb {name}` makes a notebook of this page; as a script it is `python {name}`."
    text = "\n\n".join([title, how, rest.strip(), *parts[1:]]).replace("](../docs/", "](../")
    return re.sub(r"\]\((\w+)\.py\)", r"](\1.md)", text)


def public() -> dict[str, list[str]]:
    """The public names of each layer."""
    found: dict[str, list[str]] = {layer: [] for layer in LAYERS}
    for name in headwise.__all__:
        module, _ = headwise._HOMES[name]
        layer = module.split(".")[1]
        found[BESIDE.get(layer, layer)].append(name)
    return found


def api(layer: str) -> str:
    """The reference of a layer: its public names, classes and functions as their docstrings have them."""
    parts = [f"# {layer}", LAYERS[layer]]
    for name in public()[layer]:
        module, own = headwise._HOMES[name]
        shown = "" if own == name else f"\n    options:\n      heading: headwise.{name}"
        parts.append(f"::: {module}.{own}{shown}")
    return "\n\n".join(parts)


COMMANDS = """# Commands

What `headwise help` says, of each command. Every one reads `key=value`, prints JSON with `--json`, and where it trains
it takes the settings of runs besides: `headwise list settings` has them all, `headwise help training` a group."""


def _command(command: Command) -> str:
    parts = [f"## headwise {command.name}", f"{command.summary}.", f"```bash\n{command.usage}\n```"]
    parts += [html.escape(command.options.about, quote=False)] if command.options.about else []
    rows = [_row(field) for field in command.options.fields.values() if field.kind in ("argument", "option")]
    if rows:
        parts.append("\n".join(["| key | default | what it is | allowed |", "|---|---|---|---|", *rows]))
    return "\n\n".join(parts)


def _row(field: Field) -> str:
    default = field.shown_default
    cells = [f"`{field.name}`", f"`{default}`" if default else "", field.meaning, field.allowed]
    return "| " + " | ".join(html.escape(cell, quote=False).replace("|", "\\|") for cell in cells) + " |"


def _index() -> str:
    """All public names with the first line of each docstring, by layer."""
    lines = [inspect.getdoc(headwise) or "", ""]
    for layer, names in public().items():
        lines += [f"## [{layer}]({layer}.md)", "", LAYERS[layer], ""]
        for name in names:
            module, own = headwise._HOMES[name]
            lines.append(f"- [`headwise.{name}`][{module}.{own}]{_summary(module, own)}")
        lines.append("")
    return "\n".join(lines)


def _summary(module: str, name: str) -> str:
    """The first sentence of a docstring, read without importing what it documents."""
    spec = importlib.util.find_spec(module)
    assert spec is not None and spec.origin is not None  # noqa: PT018
    for node in ast.parse(Path(spec.origin).read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef) and node.name == name:
            first = " ".join((ast.get_docstring(node) or "").split("\n\n")[0].split())
            return ": " + re.split(r"(?<=\.) |:$", first)[0]
    return ""


def _of_readme(names: tuple[str, ...]) -> str:
    parts = sections((ROOT / "README.md").read_text(encoding="utf-8"))
    headed = parts[names[0]] if len(names) == 1 else "\n".join(f"## {name}\n{parts[name]}" for name in names)
    return _without_docs(headed)


def _without_docs(text: str) -> str:
    """Links of a file in the repository's root, as of one in docs/."""
    for name, target in WHOLE.items():
        text = text.replace(f"]({name}", f"]({target}")
    return re.sub(r"\]\((notebooks/\w+)\.py", r"](\1.md", text.replace("](docs/", "]("))


def _drawing(found: re.Match[str]) -> str:
    drawing = (DRAWINGS / f"{found[2]}.svg").read_text(encoding="utf-8")
    drawing = re.sub(
        r"<style>.*?</style>\n", "", drawing, flags=re.S
    )  # its own colours; site.css has those of the page
    return re.sub(r"<svg ", f'<svg class="drawing" role="img" aria-label="{found[1]}" ', drawing, count=1)
