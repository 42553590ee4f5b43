"""`headwise prune`: heads that a pretrained model's routers never use, removed for good."""

import copy
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from rich.console import RenderableType

from headwise.commands.result import Result, columns
from headwise.errors import InputError
from headwise.files import user_path
from headwise.pretrained.costs import costs, loss
from headwise.pretrained.opening import blocks, read_texts
from headwise.pretrained.retrofit import Retrofitted
from headwise.pretrained.saving import save_retrofitted
from headwise.pretrained.usage import removable, used_heads
from headwise.schema import FilePath, argument
from headwise.training.retrofits import load_retrofitted, load_tokenizer


@dataclass(frozen=True)
class Options:
    """Remove the heads of a pretrained model that its routers never use on a text.

    The folder is the directory of a finished headwise retrofit, whose adapters are merged into the weights, or one that
    headwise.save_retrofitted wrote; the model must write text, and have its tokenizer. What the smaller model costs is
    measured beside the one with routers and the one without: milliseconds, weights and cache. The routers stay, and go
    on choosing among the heads that are left.

    Args:
        folder: of the model with routers, or of a run.
        data: a text, .txt, .jsonl or .conllu; a head that no token of it uses goes.
        output: a new folder for the smaller model.
        test: another text, on which the losses before and after are told; that a head is never used holds for data.
        by: groups (default): key/value heads go whole, or with as many query heads each, and the cache shrinks. heads:
            every unused head goes, at the price of copies of key/value heads, so that the cache may grow.
        length: tokens in a block of the texts.
        blocks: how many blocks of data are read, at most; as many of test.
        prompt: tokens of the prompt that is timed.
        rounds: how often each model is timed.
    """

    waits: ClassVar[str] = "opening the model"

    data: FilePath
    output: FilePath
    folder: FilePath = argument()
    test: FilePath | None = None
    by: Literal["groups", "heads"] = "groups"
    length: int = 256
    blocks: int = 16
    prompt: int = 512
    rounds: int = 5

    def __post_init__(self) -> None:
        for key, least in (("length", 2), ("blocks", 1), ("prompt", 1), ("rounds", 1)):
            if getattr(self, key) < least:
                raise InputError(f"{key}={getattr(self, key)}: choose at least {least}")


def run(options: Options) -> Result:
    """Find the unused heads, remove them, write the smaller model, and compare."""
    output = user_path(options.output)
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise InputError(f"output={output}: there already; choose a new folder")
    texts = {"data": read_texts(options.data)} | ({"test": read_texts(options.test)} if options.test else {})
    routed = load_retrofitted(options.folder)
    model: Any = routed.model
    if not model.can_generate() or model.config.is_encoder_decoder:
        raise InputError(f"{options.folder}: {type(routed.model).__name__} is no causal language model")
    tokenizer = load_tokenizer(options.folder)
    read = {name: blocks(text, tokenizer, options.length, options.blocks) for name, text in texts.items()}
    prompt = blocks(texts["data"] * (1 + options.prompt), tokenizer, options.prompt, 1)
    used = used_heads(routed, ({"input_ids": block[None]} for block in read["data"]))
    keep = removable(used, routed.sites, options.by)
    if all(mask.all() for mask in keep):
        raise InputError(f"{options.folder}: {_nothing(routed, sum(int((~mask).sum()) for mask in used), options.by)}")
    # The models share what weights they have in common: removal puts new ones in place of those that it cuts
    shared = {id(parameter): parameter for parameter in routed.model.parameters()}
    pruned = copy.deepcopy(routed, dict(shared))
    try:
        pruned.prune(keep, options.by)
    except InputError:
        raise
    except ValueError as error:
        raise InputError(f"{options.folder}: {error}") from None
    losses = {
        name: {"before": loss(routed.model, text), "after": loss(pruned.model, text)} for name, text in read.items()
    }
    dense = copy.deepcopy(routed, dict(shared)).remove()
    models = {"dense": dense, "with routers": routed.model, "pruned": pruned.model}
    table = _rows(costs(models, prompt, rounds=options.rounds))
    removed = [before.heads - after.heads for before, after in zip(routed.sites, pruned.sites, strict=True)]
    layers = [
        {"layer": site.name, "unused": int((~mask).sum()), "removed": gone, "heads": site.heads, "groups": site.groups}
        for site, mask, gone in zip(pruned.sites, used, removed, strict=True)
    ]
    figures = {f"{row['cost']}, pruned/dense": row["pruned/dense"] for row in table}
    for name, each in losses.items():
        figures |= {f"nats a token on {name}, {when}": value for when, value in each.items()}
    save_retrofitted(pruned, output, tokenizer=tokenizer, figures=figures)
    text: list[RenderableType] = [columns(layers, list(layers[0])), "", columns(table, list(table[0])), ""]
    for name, each in losses.items():
        text.append(f"nats a token on {name}: {each['before']:.4f} before, {each['after']:.4f} after")
    text.append(f"removed {sum(removed)} of {sum(site.heads for site in routed.sites)} heads; written: {output}")
    return Result({"layers": layers, "costs": table, "losses": losses, "written": str(output)}, text)


def _rows(found: dict[str, dict[str, float]]) -> list[dict[str, Any]]:
    rows = []
    for cost in found["dense"]:
        row: dict[str, Any] = {"cost": cost} | {name: values[cost] for name, values in found.items()}
        row |= {f"pruned/{name}": row["pruned"] / row[name] for name in ("dense", "with routers")}
        rows.append(row)
    return rows


def _nothing(routed: Retrofitted, unused: int, by: str) -> str:
    """Why nothing can be removed."""
    if not any(router.switches_off for router in routed.routers):
        return f"gates {routed.arm.gate.describe()} are never 0, so that no head is ever off; choose others (arm.gate)"
    if unused and by == "groups":
        return f"{unused} heads are never on, but no key/value group as a whole; choose by=heads, whose cache may grow"
    return "every head is on for some token of data; nothing is to be removed"
