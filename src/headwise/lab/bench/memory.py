"""How much memory a training step takes."""

import torch
from torch import Tensor, nn


def training_bytes(model: nn.Module, x: Tensor) -> int:
    """Bytes of one training step on x [B, L, D]: distinct storages saved for backward, parameters, gradients, optimiser
    state."""
    storages: dict[int, tuple[int, object]] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        storages[storage.data_ptr()] = (storage.nbytes(), storage)  # kept alive, so that no address is used twice
        return tensor

    optimiser = torch.optim.AdamW(model.parameters(), fused=True)
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        out = model(x)
        (out if isinstance(out, Tensor) else out.states[-1]).square().mean().backward()
    optimiser.step()
    own = {p.untyped_storage().data_ptr() for p in model.parameters()}
    saved = sum(size for address, (size, _) in storages.items() if address not in own)
    state = sum(t.nbytes for values in optimiser.state.values() for t in values.values() if isinstance(t, Tensor))
    return saved + state + sum(2 * p.nbytes for p in model.parameters())
