"""TRM's and HRM's recursion in plain torch, as their equations are written: the networks are callables."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

Net = Callable[[Tensor], Tensor]


def trm(net: Net, x: Tensor, y: Tensor, z: Tensor, n: int, T: int) -> tuple[Tensor, Tensor]:
    """One segment of TRM: T - 1 cycles without gradient, then one with.

    one cycle:  n times  z <- net(z + y + x);  then  y <- net(y + z)
    """
    with torch.no_grad():
        for _ in range(T - 1):
            for _ in range(n):
                z = net(z + y + x)
            y = net(y + z)
    for _ in range(n):
        z = net(z + y + x)
    y = net(y + z)
    return y, z


def hrm(f_L: Net, f_H: Net, x: Tensor, z_H: Tensor, z_L: Tensor, N: int, T: int) -> tuple[Tensor, Tensor]:
    """One segment of HRM: N cycles of T low-level steps and one high-level step; gradient through the last of each.

    z_L <- f_L(z_L + z_H + x)  each step;   z_H <- f_H(z_H + z_L)  every T steps
    """
    with torch.no_grad():
        for step in range(1, N * T):
            z_L = f_L(z_L + z_H + x)
            if step % T == 0:
                z_H = f_H(z_H + z_L)
    z_L = f_L(z_L + z_H + x)
    z_H = f_H(z_H + z_L)
    return z_H, z_L


def segments(
    one: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]], y: Tensor, z: Tensor, number: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Deep supervision: the answer and the latent after each segment, which starts from those before, detached."""
    for _ in range(number):
        y, z = one(y.detach(), z.detach())
        yield y, z
