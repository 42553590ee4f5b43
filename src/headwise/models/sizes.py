"""The backbone's shape, and named sizes of it."""

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class ModelConfig:
    """The shape of a backbone.

    Args:
        width: D; default 128, with 8 heads of 16.
        heads: H; must divide the width.
        ffn: F; default 512, 4·D.
        depth: blocks in the stack; default 1.
        dropout: default 0: the tasks at hand underfit or have exact ceilings.
    """

    width: int = 128
    heads: int = 8
    ffn: int = 512
    depth: int = 1
    dropout: float = 0.0

    def __post_init__(self) -> None:
        for key in ("width", "heads", "ffn", "depth"):
            if getattr(self, key) < 1:
                raise ValueError(f"{key}={getattr(self, key)}: choose at least 1")
        if self.width % self.heads:
            raise ValueError(f"heads={self.heads} does not divide width={self.width}: choose a divisor of the width")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout={self.dropout}: choose a number from 0 up to, not including, 1")


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
