"""Pretrained models with fewer heads as folders of transformers.

Such a folder is an ordinary one where the model's configuration can say how many heads there are. Elsewhere
`modeling_headwise.py` lies beside, which `AutoModel...from_pretrained(folder, trust_remote_code=True)` runs without
headwise; without `trust_remote_code` transformers refuses the sizes.
"""

import inspect
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from torch import nn

from headwise.errors import InputError
from headwise.files import new_folder, read_mapping, typed, user_path, write_json, write_text
from headwise.pretrained import card, pruned_shape, smollm2
from headwise.pretrained.library import transformers_for
from headwise.pretrained.opening import SMOLLM2
from headwise.pretrained.pruned_configuration import beyond_configuration, plain_class
from headwise.pretrained.sites import find_sites
from headwise.provenance import check_format
from headwise.schema import short

FORMAT = 1
"""Number of the format of what stands under `headwise_pruned`; rises when an earlier folder would be read wrongly."""
PRUNED, CODE = "headwise_pruned", "modeling_headwise.py"
AUTOS = (
    *("AutoModelForCausalLM", "AutoModelForSeq2SeqLM", "AutoModelForMaskedLM", "AutoModelForSequenceClassification"),
    *("AutoModelForTokenClassification", "AutoModelForQuestionAnswering", "AutoModelForImageClassification"),
    "AutoModel",
)


def save_pruned(
    model: nn.Module, folder: str | Path, tokenizer: Any = None, figures: Mapping[str, Any] | None = None
) -> Path:
    """Write a model without routers that has lost heads, so that transformers loads it bit-equal without headwise.

    Args:
        model: of a class of transformers.
        folder: a new or empty one.
        tokenizer: is written beside.
        figures: name -> number, for the model card.

    Raises:
        InputError: the folder has something in it.
        ValueError: the model has routers, or is of no class of transformers.
    """
    sites = find_sites(model)
    layers = beyond_configuration(model, sites)
    with new_folder(folder) as place:
        save_model(model, place, layers, tokenizer)
        auto = _autos(model)
        text = card.of_pruned(
            auto[0] if auto else type(model).__name__, [(s.heads, s.groups) for s in sites], bool(layers)
        )
        write_text(place / "README.md", text + card.table(figures or {}))
    return user_path(folder)


def load_pruned(folder: str | Path) -> Any:
    """A model that `save_pruned` wrote, in evaluation mode; no code of the folder is run."""
    place = user_path(folder)
    architectures = typed(read_mapping(place / "config.json"), "architectures", list, place / "config.json")
    return load_model(str(place), str(architectures[0])).eval()


def save_model(model: Any, place: Path, layers: Mapping[str, Any], tokenizer: Any) -> None:
    """Write the model, and what of its layers its configuration cannot say; no routers may be in it."""
    plain = plain_class(model)
    # transformers translates names for its own classes alone, and a class whose code lies beside is none of them
    own_names = layers and "save_original_format" in inspect.signature(model.save_pretrained).parameters
    model.save_pretrained(place, **({"save_original_format": False} if own_names else {}))
    where = place / "config.json"
    config = {key: value for key, value in read_mapping(where).items() if key not in (PRUNED, "auto_map")}
    config["architectures"] = [plain.__name__]
    (place / CODE).unlink(missing_ok=True)
    if layers:
        name = f"Pruned{plain.__name__}"
        config |= {"auto_map": {auto: f"{CODE.removesuffix('.py')}.{name}" for auto in _autos(model)}}
        config |= {PRUNED: {"format": FORMAT, "version": version(), "layers": layers}}
        write_text(place / CODE, _code(plain.__name__, name))
    write_json(where, config)
    if tokenizer is not None:
        tokenizer.save_pretrained(place)


def load_model(where: str, name: str) -> Any:
    """A model of transformers' class `name`, by its folder or name; one that has lost heads is shaped first."""
    transformers = transformers_for(where)
    if where == SMOLLM2:
        return smollm2.load()[0]
    cls: Any = getattr(transformers, name, None) if name.isidentifier() else None
    if not (isinstance(cls, type) and issubclass(cls, transformers.PreTrainedModel)):
        raise InputError(
            f"{where}: class {short(name)} is none of the models of transformers {transformers.__version__}"
        )
    file = user_path(where) / "config.json"
    pruned = read_mapping(file).get(PRUNED) if user_path(where).is_dir() else None
    if pruned is not None:
        if not isinstance(pruned, dict):
            raise InputError(f"{file}: {PRUNED} is {short(pruned)}, expected keys and values")
        check_format(pruned, f"{file}: {PRUNED}", FORMAT)
        cls = _shaped(cls, pruned["layers"])
    try:
        model, report = cls.from_pretrained(where, dtype="auto", output_loading_info=True)
    except Exception as error:  # code of two hundred models runs in there, and each fails in its own way
        raise InputError(f"{where}: cannot be loaded as {name} ({' '.join(str(error).split())[:200]})") from error
    if missing := sorted(report["missing_keys"]):
        raise InputError(f"{where}: holds no weights {missing[0]} of {name}, and {len(missing) - 1} more are missing")
    return model


def version() -> str:
    return metadata.version("headwise")


def _code(plain: str, name: str) -> str:
    """The module that shapes the layers when transformers builds the model."""
    function = inspect.getsource(pruned_shape.shape_attention)
    return (
        f'"""{plain} with fewer attention heads than its configuration says, written by headwise {version()}."""\n\n'
        "from collections.abc import Mapping\nfrom typing import Any\n\nfrom torch import nn\n"
        f"from transformers import {plain}\n\n\n{function}\n\n"
        f"class {name}({plain}):\n"
        "    def __init__(self, config):\n"
        "        super().__init__(config)\n"
        f'        shape_attention(self, config.{PRUNED}["layers"])\n'
    )


def _autos(model: nn.Module) -> list[str]:
    """The classes through which transformers finds the model's."""
    import transformers

    plain, config = plain_class(model), type(model.config)
    found = []
    for name in AUTOS:
        mapping = getattr(getattr(transformers, name, None), "_model_mapping", {})
        met = mapping.get(config, ())
        if plain in (met if isinstance(met, (tuple, list)) else (met,)):
            found.append(name)
    return found


def _shaped(cls: type[Any], layers: Mapping[str, Any]) -> type[Any]:
    """The class, whose models have these shapes; it goes by the same name, which is written when a model is saved."""

    def initialise(self: Any, config: Any, *args: Any, **kwargs: Any) -> None:
        cls.__init__(self, config, *args, **kwargs)
        pruned_shape.shape_attention(self, layers)

    return type(cls.__name__, (cls,), {"__init__": initialise, "__module__": __name__})
