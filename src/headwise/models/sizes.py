"""The backbone's shape, and named sizes of it."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, get_args

from headwise.models.feed_forward import Activation
from headwise.models.initialisation import Init
from headwise.models.norms import Norm, NormPlacement
from headwise.routing.rotary import BASE
from headwise.routing.skipping import Skipping

KINDS: dict[str, Any] = {"norm": Norm, "norm_placement": NormPlacement, "activation": Activation, "init": Init}


@dataclass(frozen=True)
class ModelConfig:
    """The shape of a backbone.

    Args:
        width: D; default 128, with 8 heads of 16.
        heads: H; must divide the width.
        ffn: F; default 512, 4·D. 0: blocks of attention alone, without a feed-forward layer and its norm.
        depth: blocks in the stack; default 1.
        dropout: default 0: the tasks at hand underfit or have exact ceilings.
        kv_heads: G, heads of keys and values, each shared by H/G heads; default none: as many as heads.
        skipping: what becomes of heads that are off: auto (default; left out where that is faster and changes no
            gradient), always or never; `headwise.routing.skipping` has the rule.
        structural_heads: the first so many heads of each layer see along the relations that the task names, spread
            evenly over them, the first relation first; `{row: 2, column: 1}` says which; default 0.
        relative: radius of a learned bias by relative row and column (`headwise.routing.layout.RelativeBias`), one less
            than the side of the grids trained on or smaller; default 0, none.
        norm: layer (default), rms (no mean, no bias), or rms_unscaled (without learned weights either, as in HRM and
            TRM); epsilon 1e-5 each (`headwise.models.norms`).
        norm_placement: pre (default; of what each half of a block reads, and once more behind the last block) or post
            (of the sum that each half makes, as in HRM and TRM, so that there is nothing to norm at the end).
        activation: of the feed-forward layer: gelu (default), relu, or swiglu, which has three matrices D x F in place
            of two; HRM and TRM take F = 2/3·4·D, rounded up to a multiple of 256.
        bias: in queries, values and output of attention, in layer norms and in the feed-forward layer; default true.
        rotary: queries and keys are turned by their token's place in the sequence (`headwise.routing.rotary`), so that
            attention knows offsets, in causal models too; beside the task's own positions, or `relative`, if these are
            not turned off. Default false.
        rotary_base: as published, 10000.
        init: default, or truncated_normal (attention and feed-forward matrices with a standard deviation of 1/sqrt(fan
            in), as HRM and TRM start; `headwise.models.initialisation`).
    """

    width: int = 128
    heads: int = 8
    ffn: int = 512
    depth: int = 1
    dropout: float = 0.0
    kv_heads: int | None = None
    skipping: Skipping = "auto"
    structural_heads: int | dict[str, int] = 0
    relative: int = 0
    norm: Norm = "layer"
    norm_placement: NormPlacement = "pre"
    activation: Activation = "gelu"
    bias: bool = True
    rotary: bool = False
    rotary_base: float = BASE
    init: Init = "default"

    def __post_init__(self) -> None:
        for key in ("width", "heads", "depth"):
            if getattr(self, key) < 1:
                raise ValueError(f"{key}={getattr(self, key)}: choose at least 1")
        if self.ffn < 0:
            raise ValueError(f"ffn={self.ffn}: choose at least 1, or 0 for no feed-forward layer")
        if self.width % self.heads:
            raise ValueError(f"heads={self.heads} does not divide width={self.width}: choose a divisor of the width")
        if self.kv_heads is not None and (self.kv_heads < 1 or self.heads % self.kv_heads):
            raise ValueError(f"kv_heads={self.kv_heads} does not divide heads={self.heads}: choose a divisor")
        for name, count in self._by_relation.items():
            if count < 0:
                raise ValueError(f"structural_heads{name}={count}: choose 0..{self.heads} (heads)")
        if self.n_structural > self.heads:
            together = " together" if isinstance(self.structural_heads, Mapping) else ""
            raise ValueError(f"structural_heads={self.n_structural}{together}: choose 0..{self.heads} (heads)")
        if self.relative < 0:
            raise ValueError(f"relative={self.relative}: choose a radius of at least 1, or 0 for none")
        for key, kind in KINDS.items():
            if getattr(self, key) not in get_args(kind):
                raise ValueError(f"{key}={getattr(self, key)}: choose one of {', '.join(get_args(kind))}")
        if self.rotary and self.width // self.heads % 2:
            raise ValueError(
                f"rotary=true: turns channels in pairs, and a head has {self.width // self.heads} (width={self.width}, "
                f"heads={self.heads}); choose an even head width"
            )
        if not 1 < self.rotary_base < math.inf:
            raise ValueError(f"rotary_base={self.rotary_base}: choose a number above 1")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout={self.dropout}: choose a number from 0 up to, not including, 1")

    @property
    def n_structural(self) -> int:
        """S, heads that see along a relation alone."""
        return sum(self._by_relation.values())

    @property
    def _by_relation(self) -> Mapping[str, int]:
        """Heads by what a key says behind `structural_heads`: nothing, or a relation."""
        if isinstance(self.structural_heads, int):
            return {"": self.structural_heads}
        return {f".{name}": count for name, count in self.structural_heads.items()}


SIZES = {
    "tiny": ModelConfig(width=128, heads=4, ffn=512, depth=2),
    "small": ModelConfig(width=256, heads=4, ffn=1024, depth=3),
    "medium": ModelConfig(width=512, heads=8, ffn=2048, depth=4),
    "large": ModelConfig(width=768, heads=12, ffn=3072, depth=6),
    "xl": ModelConfig(width=1024, heads=16, ffn=4096, depth=8),
    "huge": ModelConfig(width=1344, heads=32, ffn=5376, depth=24),
}


def sized(name: str, **changes: int | float) -> ModelConfig:
    """A named size with changes.

    Raises:
        ValueError: an unknown name or a change that does not fit.
    """
    if name not in SIZES:
        raise ValueError(f"size={name}: choose one of {', '.join(SIZES)}")
    return replace(SIZES[name], **changes)  # type: ignore[arg-type]
