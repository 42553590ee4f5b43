"""Speed of a retrofitted language model whose tokens use a part of their heads, over the model as it was.

A randomly initialised Llama of SmolLM2-135M's shape, which costs what the trained one costs: 30 layers of 9 heads over
3 key/value heads. Routers are linear with top-k behind them; what they choose is either the same for all heads
("random") or uneven as a router is that was fitted to the heads' contributions ("uneven": the logits of a layer's heads
lie 1.2 times as far apart as a head's own vary over tokens, as measured on SmolLM2 by a ridge regression). Everything
takes turns within a round, on one thread; times are the process's own seconds. Legend: L length, M keys, n tokens.
"""

import inspect
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from headwise.lab.bench.timing import alternate
from headwise.models.arm import Arm
from headwise.pretrained.library import transformers_for
from headwise.pretrained.retrofit import Retrofitted, retrofit
from headwise.pretrained.skipping import skipping
from headwise.routing.gates import TopK
from headwise.routing.routers import LearnedRouter

LENGTH, STEPS, ROUNDS = 512, 8, {"prefill": 3, "decode": 7}
WIDTH, HEADS, GROUPS, FFN, LAYERS, VOCABULARY = 576, 9, 3, 1536, 30, 49152
UNEVEN = 1.2  # spread between a layer's heads over that of a head's own logits
WAYS = (
    ("gated", 9, "random"),
    ("skipped", 9, "random"),
    *(("skipped", k, how) for k in (7, 5) for how in ("random", "uneven")),
)


@dataclass(frozen=True)
class Measured:
    """One way to compute beside the plain model: milliseconds or millions of multiply-accumulates, and their ratio."""

    name: str
    unit: str
    ours: float
    plain: float
    ratio: float


def measure() -> Iterator[Measured]:
    """Prefill of 512 tokens and decoding of one token after them; three minutes on an idle core."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.inference_mode():
            yield from _timed()
    finally:
        torch.set_num_threads(before)
    for work in ROUNDS:
        whole = macs(work)
        for k in (7, 5):
            ours = macs(work, k / HEADS)
            yield Measured(f"{work}/ideal_{_percent(k)}", "MMAC", ours / 1e6, whole / 1e6, ours / whole)


def macs(work: str, share: float = 1.0) -> float:
    """Multiply-accumulates of a pass with a share of all pairs of token and head on, nothing lost by gathering."""
    tokens, seen = (LENGTH, (LENGTH + 1) / 2) if work == "prefill" else (1, LENGTH + 1)
    heads = 2 * WIDTH * (WIDTH + seen)  # queries and outputs, scores and mixing
    rest = 2 * WIDTH * WIDTH * GROUPS / HEADS + 3 * WIDTH * FFN
    return LAYERS * tokens * (share * heads + rest) + WIDTH * VOCABULARY


def _timed() -> Iterator[Measured]:
    plain = _model()
    with ExitStack() as stack:
        models = [plain]
        for form, k, how in WAYS:
            handle = _routed(plain, k, how)
            if form == "skipped":
                stack.enter_context(skipping(handle))
            models.append(handle.model)
        for work, rounds in ROUNDS.items():
            parts = [_prefill(model) if work == "prefill" else _decoding(model) for model in models]
            reference, *others = alternate(parts, calls=1, rounds=rounds, clock=time.process_time)
            per = 1e3 / (STEPS if work == "decode" else 1)
            for (form, k, how), own in zip(WAYS, others, strict=True):
                name = f"{work}/{form}_{_percent(k)}{f'_{how}' if k < HEADS else ''}"
                ratio = statistics.median(a / b for a, b in zip(own, reference, strict=True))
                mine, theirs = (per * statistics.median(each) for each in (own, reference))
                yield Measured(name, "ms", mine, theirs, ratio)


def _percent(k: int) -> int:
    return round(100 * k / HEADS)


def _model() -> nn.Module:
    transformers = transformers_for("bench pretrained")
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=WIDTH,
        intermediate_size=FFN,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        num_key_value_heads=GROUPS,
        tie_word_embeddings=True,
    )
    model: nn.Module = transformers.LlamaForCausalLM(config).eval()
    return model


def _routed(plain: nn.Module, k: int, how: str) -> Retrofitted:
    """A model with the same weights, in the same place in memory, and routers of its own."""
    copied: Any = type(plain)(plain.config).eval()
    copied.load_state_dict(plain.state_dict(), assign=True)
    copied.tie_weights()
    made = retrofit(copied, Arm(router=LearnedRouter(), gate=TopK(k)))
    generator = torch.Generator().manual_seed(k)
    for router in made.routers:
        linear: Any = router.of_input
        linear.weight.normal_(std=WIDTH**-0.5, generator=generator)
        if how == "uneven":
            linear.bias.normal_(std=UNEVEN, generator=generator)
    return made


def _prefill(model: Any) -> Callable[[], None]:
    tokens = torch.randint(VOCABULARY, (1, LENGTH), generator=torch.Generator().manual_seed(0))

    def run() -> None:
        model(input_ids=tokens, use_cache=True, logits_to_keep=1)

    return run


def _decoding(model: Any) -> Callable[[], None]:
    """The next tokens after a text of 512, one at a time; the cache grows from call to call, for all ways alike."""
    from transformers import DynamicCache

    tokens = torch.randint(VOCABULARY, (1, LENGTH + STEPS), generator=torch.Generator().manual_seed(0))
    names = inspect.signature(type(model).forward).parameters
    cache = {"cache" if "cache" in names else "past_key_values": DynamicCache()}
    model(input_ids=tokens[:, :LENGTH], use_cache=True, logits_to_keep=1, **cache)

    def run() -> None:
        for step in range(STEPS):
            model(input_ids=tokens[:, LENGTH + step, None], use_cache=True, **cache)

    return run
