"""What our recursion is measured against: TRM as its equations are written, in plain torch.

    T - 1 cycles without gradient, then one:   n times  z <- net(z + y + x);   then  y <- net(y + z)
    a layer of net:   x <- RMSNorm(x + attention(x));   x <- RMSNorm(x + SwiGLU(x))

Legend: B batch, L length, D width, H heads, E head width, F feed-forward width.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from headwise.models.sizes import ModelConfig
from headwise.routing.rotary import BASE


class PlainLayer(nn.Module):
    """Post-norm, RMS norms without scale, rotary positions, SwiGLU, no biases."""

    def __init__(self, shape: ModelConfig) -> None:
        super().__init__()
        self.heads = shape.heads
        self.qkv, self.out = (nn.Linear(shape.width, n * shape.width, bias=False) for n in (3, 1))
        self.gate_up = nn.Linear(shape.width, 2 * shape.ffn, bias=False)
        self.down = nn.Linear(shape.ffn, shape.width, bias=False)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """[B, L, D] to the same; angles [L, 1, E]."""
        shape = x.shape[-1:]
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).unbind(2)  # [B, L, H, E] each
        q, k = (each * cos + torch.cat([-(h := each.chunk(2, -1))[1], h[0]], -1) * sin for each in (q, k))
        heads = F.scaled_dot_product_attention(*(each.transpose(1, 2) for each in (q, k, v)))
        x = F.rms_norm(x + self.out(heads.transpose(1, 2).flatten(2)), shape, eps=1e-5)
        gate, up = self.gate_up(x).chunk(2, -1)
        return F.rms_norm(x + self.down(F.silu(gate) * up), shape, eps=1e-5)


class PlainRecursion(nn.Module):
    """One segment of TRM, answer and latent started at fixed vectors.

    Args:
        shape: of the network; its options are those above.
        n: latent updates in a cycle.
        T: cycles, of which the last has a gradient.
    """

    y_0: Tensor
    z_0: Tensor

    def __init__(self, shape: ModelConfig, n: int, T: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(PlainLayer(shape) for _ in range(shape.depth))
        self.n, self.T, self.head_width = n, T, shape.width // shape.heads
        for name in ("y_0", "z_0"):
            self.register_buffer(name, nn.init.trunc_normal_(torch.empty(shape.width), a=-2, b=2))

    def forward(self, x: Tensor) -> Tensor:
        """The answer [B, L, D] for embeddings [B, L, D]."""
        speed = BASE ** (-torch.arange(self.head_width // 2) * 2 / self.head_width)
        angle = torch.arange(x.shape[1])[:, None, None] * speed
        cos, sin = (torch.cat([each, each], -1) for each in (angle.cos(), angle.sin()))
        y, z = self.y_0.expand_as(x), self.z_0.expand_as(x)
        for cycle in range(self.T):
            with torch.set_grad_enabled(cycle == self.T - 1):
                for _ in range(self.n):
                    z = self._net(z + y + x, cos, sin)
                y = self._net(y + z, cos, sin)
        return y

    def _net(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x, cos, sin)
        return x
