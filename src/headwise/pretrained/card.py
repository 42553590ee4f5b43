"""Cards of pretrained models that were given routers, or lost heads."""

from collections.abc import Mapping, Sequence
from typing import Any

from headwise.cards import TAGS, front
from headwise.cards import table as of_rows
from headwise.models.arm import Arm

LIBRARY = "transformers"


def of_retrofitted(settings: Mapping[str, Any], arm: Arm, figures: Mapping[str, float | str]) -> str:
    """The card of a model with routers."""
    base = settings["base"]
    layers = settings["layers"]
    heads = ", ".join(str(layer["heads"]) for layer in layers)
    named = base if base and "/" in base and not base.startswith(("/", ".", "~")) else None
    head = front({"library_name": LIBRARY, "tags": list(TAGS), "base_model": named})
    where = f"Its weights without routers are those of `{base}`." if base else "Its weights lie in `base/`."
    return (
        f"{head}# {settings['class']} with routed attention heads\n\n"
        f"In each of {len(layers)} attention layers a {arm.router.describe()} with {arm.gate.describe()} gates weighs "
        f"the heads (heads by layer: {heads}). {where} Written by headwise {settings['version']}.\n\n"
        '```python\nimport headwise\n\nretrofitted = headwise.load_retrofitted("this/folder")\n'
        "model = retrofitted.model  # trains and generates as before\n```\n\n"
        "Heads that the routers never use on a text are removed for good by\n\n"
        "```bash\nheadwise prune this/folder data=a_text.txt output=a/new/folder\n```\n" + table(figures)
    )


def of_pruned(auto: str, layers: Sequence[tuple[int, int]], code: bool) -> str:
    """The card of a model with fewer heads."""
    trust = ", trust_remote_code=True" if code else ""
    why = (
        "Layers differ in their number of heads, or its configuration cannot say how many there are, so "
        "`modeling_headwise.py` is needed to load it: read it, it is short.\n\n"
        if code
        else ""
    )
    head = front({"library_name": LIBRARY, "tags": list(TAGS)})
    return (
        f"{head}# A model with fewer attention heads\n\nHeads by layer: "
        f"{', '.join(f'{heads} over {groups}' if groups < heads else str(heads) for heads, groups in layers)}. {why}"
        f'```python\nfrom transformers import {auto}\n\nmodel = {auto}.from_pretrained("this/folder"{trust})\n```\n'
    )


def table(figures: Mapping[str, Any]) -> str:
    """Figures as a table of Markdown; nothing for none."""
    return of_rows(["figure", "value"], list(figures.items()))
