"""What causal language models cost: time of reading a prompt and of writing a token, weights, and the cache of a token.

Models are timed in turns, so that what else the machine does meets all of them, and the median counts.
"""

import inspect
import time
from collections.abc import Mapping
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn

PREFILL = "prefill, ms"
DECODING = "decoding, ms a token"
WEIGHTS = "weights, MiB"
CACHE = "cache, KiB a token"


def costs(models: Mapping[str, Any], tokens: Tensor, written: int = 16, rounds: int = 5) -> dict[str, dict[str, float]]:
    """Costs of each model, by name: quantity -> number.

    Args:
        models: causal language models, on one device.
        tokens: the prompt, int64 [1, L].
        written: tokens that are written after it, one by one.
        rounds: how often each is timed; the first round more, which warms up, does not count.
    """
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in models}
    found: dict[str, dict[str, float]] = {}
    with torch.no_grad():
        for number in range(rounds + 1):
            for name, model in models.items():
                took, cache = _timed(model, tokens, written)
                if number:
                    times[name].append(took)
                else:
                    found[name] = {WEIGHTS: _weights(model), CACHE: cache}
    for name, rows in times.items():
        prefill, decoding = (median(column) for column in zip(*rows, strict=True))
        found[name] = {PREFILL: prefill, DECODING: decoding} | found[name]
    return found


def _timed(model: Any, tokens: Tensor, written: int) -> tuple[tuple[float, float], float]:
    """Milliseconds of the prompt and of a token after it, and the cache's KiB for each token of the prompt."""
    # what newer versions of transformers call it
    name = "cache" if "cache" in inspect.signature(model.forward).parameters else "past_key_values"
    start = _now(tokens)
    output = model(input_ids=tokens, use_cache=True)
    read = _now(tokens)
    size = sum(tensor.numel() * tensor.element_size() for tensor in _tensors(output[name]))
    begin = _now(tokens)
    for _ in range(written):
        following = output.logits[:, -1:].argmax(-1)
        output = model(input_ids=following, use_cache=True, **{name: output[name]})
    end = _now(tokens)
    return ((read - start) * 1e3, (end - begin) * 1e3 / written), size / tokens.shape[1] / 1024


def _now(tokens: Tensor) -> float:
    """Seconds, when what was asked of the device is done."""
    if tokens.is_cuda:
        torch.cuda.synchronize(tokens.device)
    return time.perf_counter()


def _tensors(cache: Any) -> list[Tensor]:
    """Keys and values of all layers."""
    if hasattr(cache, "layers"):
        pairs = [(layer.keys, layer.values) for layer in cache.layers]
    else:  # transformers before 4.54
        pairs = list(zip(cache.key_cache, cache.value_cache, strict=True))
    return [tensor for pair in pairs for tensor in pair if tensor is not None]


def _weights(model: nn.Module) -> float:
    return sum(parameter.numel() * parameter.element_size() for parameter in model.parameters()) / 2**20


def loss(model: Any, blocks: Tensor) -> float:
    """Mean nats a token of blocks [N, L], one after the other."""
    total = 0.0
    with torch.no_grad():
        for block in blocks:
            total += float(model(input_ids=block[None], labels=block[None]).loss)
    return total / len(blocks)
