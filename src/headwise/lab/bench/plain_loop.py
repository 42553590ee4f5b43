"""What our loop is measured against: torch's own layer, applied again and again."""

from torch import Tensor, nn

from headwise.models.sizes import ModelConfig


class PlainLoop(nn.Module):
    """torch's own layer applied R times, with the final norm that our backbone has, too."""

    def __init__(self, shape: ModelConfig, steps: int) -> None:
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(
            shape.width, shape.heads, shape.ffn, 0.0, "gelu", batch_first=True, norm_first=True
        )
        self.norm, self.steps = nn.LayerNorm(shape.width), steps

    def forward(self, x: Tensor) -> Tensor:
        for _ in range(self.steps):
            x = self.layer(x)
        out: Tensor = self.norm(x)
        return out
