"""The layers of the package, read from its imports: every arrow points left, and heavy parts load where they belong."""

import ast
import functools
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import headwise

PACKAGE = Path(headwise.__file__).parent
LAYERS = [
    {"cards", "errors", "files", "provenance", "schema", "sources", "registry", "plugins"},
    {"routing"},
    {"reasoning"},
    {"models"},
    {"pretrained"},
    {"tasks"},
    {"training"},
    {"lab", "laws"},
    {"cli", "commands", "__main__"},
]
# The rooms of the lab: what each may import from the lab beside itself. FILES lie left of them all.
FILES = {"formatting", "kept", "matching", "names", "outputs", "plot_style", "records", "shapes"} | {
    *("equivalence", "families", "mcnemar", "mixed", "power", "sequential", "statistics")
}
ROOMS = {
    "comparison": FILES,
    "scaling": FILES | {"comparison"},
    "ladder": FILES | {"comparison"},
    "control": FILES | {"comparison"},
    "sweep": FILES | {"comparison", "scaling"},
    "doctor": FILES | {"comparison", "ladder"},
    "ood": FILES | {"comparison", "scaling"},
    "choices": FILES,
    "thinking": FILES | {"comparison", "ood"},
    "weights": FILES,
    "claims": FILES,
    "show": FILES,
    "report": FILES | {"comparison", "scaling", "ladder", "control", "sweep", "ood", "thinking", "show"},
    "bench": FILES,
    "export": FILES,
    "playground": FILES | {"export"},
}
RANK = {name: rank for rank, names in enumerate(LAYERS) for name in names}
NUMERIC = {"torch", "numpy"}
# What a layer may take from outside the standard library; a layer that is not named here may take anything.
ALLOWED = {
    "errors": set(),
    "cards": {"yaml"},
    "schema": set(),
    "registry": set(),
    "plugins": set(),
    "provenance": set(),
    "files": {"numpy", "yaml"},
    "sources": set(),
    "routing": NUMERIC,
    "reasoning": NUMERIC,
    "models": NUMERIC | {"safetensors"},
    "pretrained": NUMERIC | {"scipy", "safetensors", "transformers", "tokenizers", "gguf"},
}
CONFINED = {
    "lightning": "training/module.py",
    "pytorch_lightning": "training/module.py",
    "hydra": "training/overrides.py",
    "omegaconf": "training/overrides.py",
    "optuna": "lab/sweep/search.py",
    "huggingface_hub": "training/hub.py",
}
MEANINGLESS = {"utils", "util", "helpers", "helper", "common", "misc", "legacy", "archive", "scripts"}
LONGEST = 400

# What lies beside settings is loaded as a user's plugin is
SOURCES = {
    path.relative_to(PACKAGE).as_posix(): path.read_text(encoding="utf-8")
    for path in sorted(PACKAGE.rglob("*.py"))
    if "conf" not in path.relative_to(PACKAGE).parts
}


@functools.cache
def nodes(source: str) -> list[ast.AST]:
    """Everything in the syntax tree of a source, which several rules look at."""
    return list(ast.walk(ast.parse(source)))


def imported(source: str) -> Iterator[str]:
    """Dotted names of everything that a source imports: at its top, inside functions, and by a constant name."""
    for node in nodes(source):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            # `from headwise import lab` names the layer only in its second half
            yield from ("." * node.level + f"{node.module or ''}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if called in ("import_module", "__import__") and isinstance(node.args[0].value, str):
                yield node.args[0].value


def lab_violation(path: str, name: str) -> str | None:
    """Why the file `path` of the lab may not import `name` from the lab; None if it may."""
    room, target = path.removesuffix(".py").split("/")[1], [*name.split("."), ""][2]
    allowed = ROOMS.get(room, FILES)
    return (
        None if target == room or target in allowed else f"{room} takes from the lab {', '.join(sorted(allowed))} only"
    )


def violations(path: str, source: str) -> list[str]:
    """What the file `path` (relative to the package) does against the order of the layers; empty if nothing."""
    layer = path.removesuffix(".py").split("/")[0]
    found = []
    for name in imported(source):
        top = name.split(".")[0]
        if name.startswith("."):
            found.append(f"{path} imports {name}: imports are absolute, so that their direction can be seen")
        elif top == "headwise":
            target = [*name.split("."), ""][1]
            if target not in RANK:
                found.append(f"{path} imports {name}: take it from the module that defines it")
            elif RANK[target] > RANK[layer]:
                found.append(f"{path} imports {name}: {target} is to the right of {layer}")
            elif target == layer == "lab" and (reason := lab_violation(path, name)):
                found.append(f"{path} imports {name}: {reason}")
        elif top not in sys.stdlib_module_names:
            if layer in ALLOWED and top not in ALLOWED[layer]:
                found.append(
                    f"{path} imports {name}: {layer} takes {', '.join(sorted(ALLOWED[layer])) or 'nothing'} only"
                )
            if top in CONFINED and not path.startswith(CONFINED[top]):
                found.append(f"{path} imports {name}: {top} is for {CONFINED[top]} only")
    return found


@pytest.mark.parametrize(
    ("path", "source", "reason"),
    [
        ("routing/gates.py", "from headwise.models.backbone import Backbone", "models is to the right of routing"),
        ("routing/gates.py", "from headwise import training", "training is to the right"),
        ("models/blocks.py", "def f():\n    import headwise.lab.report.write", "lab is to the right of models"),
        ("tasks/base.py", "import importlib\nimportlib.import_module('headwise.training.run')", "right of tasks"),
        ("training/run.py", "from headwise import RoutedAttention", "from the module that defines it"),
        ("training/run.py", "from .module import HeadwiseModule", "imports are absolute"),
        ("reasoning/halting.py", "import scipy.stats", "reasoning takes numpy, torch only"),
        ("schema.py", "import torch", "schema takes nothing only"),
        ("training/fit.py", "import lightning as L", "lightning is for training/module.py only"),
        (
            "lab/comparison/compare.py",
            "from headwise.lab.report.write import write_report",
            "comparison takes from the lab",
        ),
        ("lab/ladder/climb.py", "from headwise.lab.scaling import budget", "ladder takes from the lab"),
        ("lab/report/page.py", "from headwise.lab.bench.suite import Result", "report takes from the lab"),
        ("lab/bench/suite.py", "import headwise.lab.comparison.runs", "bench takes from the lab"),
        ("lab/records.py", "from headwise.lab import comparison", "records takes from the lab"),
        ("training/run.py", "from omegaconf import OmegaConf", "omegaconf is for training/overrides.py only"),
        ("cli.py", "if True:\n    from hydra import compose", "hydra is for training/overrides.py only"),
    ],
)
def test_the_checker_catches_a_planted_import(path: str, source: str, reason: str) -> None:
    assert any(reason in message for message in violations(path, source))


def test_the_checker_accepts_an_import_to_the_left() -> None:
    source = (
        "import math\nimport torch\nfrom headwise.routing.gates import Gates\nfrom headwise.errors import InputError"
    )
    assert violations("models/blocks.py", source) == []


def test_imports_point_to_the_left_only() -> None:
    """The public face apart, which names every layer, lazily."""
    assert len(SOURCES) > 300
    assert [
        found for path, source in SOURCES.items() if path != "__init__.py" for found in violations(path, source)
    ] == []


def outgrown(path: str, source: str) -> list[str]:
    """What the name, the length and the place of a file tell against it; empty if nothing."""
    found = []
    if (length := len(source.splitlines())) > LONGEST:
        found.append(f"{path} has {length} lines, {LONGEST} are read in one sitting")
    if meaningless := MEANINGLESS & set(path.removesuffix(".py").split("/")):
        found.append(f"{path}: {', '.join(sorted(meaningless))} names no subject")
    layer, *below = path.removesuffix(".py").split("/")
    if layer not in {*RANK, "__init__"}:
        found.append(f"{path}: {layer} has no place in the order of the layers")
    if layer == "lab" and below[0] not in {*ROOMS, *FILES, "__init__"}:
        found.append(f"{path}: {below[0]} has no place in the order of the lab")
    return found


@pytest.mark.parametrize(
    ("path", "lines", "reason"),
    [
        ("routing/gates.py", LONGEST + 1, "401 lines"),
        ("routing/utils.py", 1, "utils names no subject"),
        ("common/gates.py", 1, "common names no subject"),
        ("gates.py", 1, "gates has no place in the order of the layers"),
        ("lab/cellar/gates.py", 1, "cellar has no place in the order of the lab"),
    ],
)
def test_the_checker_catches_a_planted_file(path: str, lines: int, reason: str) -> None:
    assert outgrown("routing/gates.py", "\n" * LONGEST) == []
    assert any(reason in message for message in outgrown(path, "\n" * lines))


def test_a_file_has_one_subject_and_is_read_in_one_sitting() -> None:
    assert [found for path, source in SOURCES.items() for found in outgrown(path, source)] == []


def test_the_start_loads_neither_torch_nor_lightning_nor_hydra() -> None:
    heavy = "{'torch', 'numpy', 'lightning', 'hydra', 'scipy', 'matplotlib', 'rich'}"
    tell = f"print(sorted({heavy} & set(sys.modules)))"
    check = f"import sys; import headwise; {tell}; import headwise.cli; {tell}; dir(headwise); {tell}"
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True, timeout=300)
    assert done.stdout.split() == ["[]"] * 3


def test_every_public_name_exists_and_is_documented() -> None:
    for name in headwise.__all__:
        value = getattr(headwise, name)
        assert (value.__doc__ or "").strip(), f"headwise.{name} has no docstring"
    with pytest.raises(AttributeError, match="no attribute 'RoutedAtention'"):
        headwise.RoutedAtention  # noqa: B018


def test_type_checkers_see_the_public_names_that_there_are() -> None:
    """The imports under TYPE_CHECKING and the table of lazy names say the same."""
    seen = {
        alias.asname: (node.module, alias.name)
        for node in nodes(SOURCES["__init__.py"])
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("headwise.")
        for alias in node.names
    }
    assert seen == headwise._HOMES


def test_docstrings_stand_alone() -> None:
    """They begin with a verb or a noun phrase, never with "Of"."""
    texts = [
        (path, node.value.value)
        for path, source in SOURCES.items()
        for node in nodes(source)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    ]
    assert [found for found in texts if isinstance(found[1], str) and found[1].lstrip().startswith("Of ")] == []


def test_a_run_comes_to_its_first_update_without_loading_what_it_does_not_need(tmp_path: Path) -> None:
    """`import torch` is the only heavy import: torch._dynamo alone, which optimisers ask for, takes as long again."""
    heavy = "{'torch._dynamo', 'sympy', 'torch.utils.tensorboard', 'scipy', 'matplotlib', 'lightning', 'transformers'}"
    program = f"""
import sys
from headwise.training.recorder import Recorder
def first(*_, **__):
    print(sorted({heavy} & set(sys.modules)))
    sys.stdout.flush()
    import os
    os._exit(0)
Recorder.after_step = first
from headwise.cli import main
main(["train", "task=sorting", "arm=hrm", "quick=true", "output={tmp_path}"])
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=300)
    assert (done.stdout + done.stderr).splitlines()[-1] == "[]"
