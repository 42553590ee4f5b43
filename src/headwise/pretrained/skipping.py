"""Leaving out heads that are off in a retrofitted model, so that a choice per token saves time at evaluation.

The hooks of `headwise.pretrained.gating` multiply heads that were computed. Within `skipping(retrofitted)` the attention
layers compute the same output from the heads that are on. Keys and values of all groups are made and go into the cache,
as a later token may need them.

    one token    queries, scores and output rows of the heads that some example of the batch uses
    many tokens  queries, scores and output rows of the (token, head) pairs that are on: the tokens of a head are
                 gathered and taken in tiles of 64, each over the stretch of keys that its mask lets it see. A head that
                 no token uses costs nothing, nor does a stretch of tokens that do not use it.

A layer that computes with gradients, in training, or for arguments that are not understood runs as before, gated by the
hooks, and so does one whose gates are all on in a pass of many tokens. So does, with `when="auto"`, a layer that would
lose by it: on a device other than a CPU, or in a pass of many tokens that saves less than its pieces cost.

Legend: B batch, L query length, M key length, H heads, G key/value heads, E head width, D = H·E width, u heads in use.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from headwise.pretrained.gating import GatedHeads
from headwise.pretrained.head_sets import HeadSet, head_set
from headwise.pretrained.masks import Visible
from headwise.pretrained.retrofit import Retrofitted
from headwise.pretrained.sites import Site

LAYERS = ("LlamaAttention", "MistralAttention", "Qwen2Attention", "Qwen3Attention", "SmolLM3Attention")
"""Classes of attention layers whose computation is known here."""
PROJECTIONS = ("q_proj", "k_proj", "v_proj", "o_proj")
CACHES = ("cache", "past_key_values", "past_key_value")
"""Names that versions of transformers have for the cache."""
ALLOWED = {"position_ids", "use_cache", "cache_position", "logits_to_keep", *CACHES}
"""Arguments of a layer besides its input, rotation and mask that it may be given without changing what it computes."""
TILE = 64  # queries of a head that share a stretch of keys
HEAD_COST, TILE_COST = 3e6, 5e5
"""What a head, and a tile of it, cost besides their products, in multiply-accumulates of one CPU thread: about 150 and
25 microseconds at 20 per nanosecond (measured on one processor, rounded up)."""

When = Literal["auto", "always"]


@contextmanager
def skipping(retrofitted: Retrofitted, when: When = "auto") -> Iterator[list["SkippingAttention"]]:
    """Within the block, compute only heads that are on, where no gradients are needed.

    Weights must not change within the block: each layer holds a transposed copy of its output projection.

    Args:
        retrofitted: a model with routers; LAYERS, under eager or sdpa attention.
        when: auto (default) leaves a layer as it is where skipping would not pay; always skips wherever it can.

    Yields:
        What stands in for each layer's forward pass; its `counted` says what ran.

    Raises:
        ValueError: a layer of another structure, attention implementation or kind of projection; within the block, a
            model that is asked for its attention weights.
    """
    if when not in ("auto", "always"):
        raise ValueError(f"skipping when={when}: choose auto or always")
    for site in retrofitted.sites:
        _check(retrofitted.model, site)
    masks = Visible()
    layers = [
        SkippingAttention(site, gates, masks, when)
        for site, gates in zip(retrofitted.sites, retrofitted.heads, strict=True)
    ]
    asked = retrofitted.model.register_forward_pre_hook(_no_weights, with_kwargs=True)
    before = [site.attention.__dict__.get("forward") for site in retrofitted.sites]
    for site, layer in zip(retrofitted.sites, layers, strict=True):
        site.attention.forward = layer  # an attribute of the object goes before the method of its class
    try:
        yield layers
    finally:
        asked.remove()
        for site, own in zip(retrofitted.sites, before, strict=True):
            if own is None:
                del site.attention.forward
            else:
                site.attention.forward = own


@dataclass
class Skipped:
    """How often a layer ran in which form since the block was entered."""

    as_before: int = 0
    one_token: int = 0
    many_tokens: int = 0


@dataclass
class SkippingAttention:
    """What stands in for an attention layer's forward pass; the layer's pre-hook has made the gates before.

    Attributes:
        site: the layer.
        gates: its routing module.
        masks: what the layers of a model share of a pass's mask.
        when: as in `skipping`.
        counted: forms that ran.
    """

    site: Site
    gates: GatedHeads
    masks: Visible
    when: When
    counted: Skipped = field(default_factory=Skipped)

    def __post_init__(self) -> None:
        attention: Any = self.site.attention
        self.before: Callable[..., tuple[Tensor, Any]] = attention.forward
        self.scale: float = attention.scaling
        self.rotates = bool(getattr(attention, "use_rope", True))
        self.query_norm = getattr(attention, "q_norm", None)
        self.key_norm = getattr(attention, "k_norm", None)
        self.columns = attention.o_proj.weight.detach().t().contiguous()  # [H·E, D], a head's rows together

    def __call__(
        self,
        hidden_states: Tensor,
        position_embeddings: tuple[Tensor, Tensor] | None = None,
        attention_mask: Tensor | None = None,
        *args: Any,
        **kwargs: Any,
    ) -> tuple[Tensor, Any]:
        weight = self.gates.weight  # [B, L|1, H]
        if args or weight is None or not self._understood(position_embeddings, attention_mask, kwargs):
            return self._as_before(hidden_states, position_embeddings, attention_mask, *args, **kwargs)
        one = hidden_states.shape[1] == 1
        if not (self._pays_at_one(weight) if one else self._pays_at_many(hidden_states, weight)):
            return self._as_before(hidden_states, position_embeddings, attention_mask, **kwargs)
        self.gates.weight = None  # there is nothing left to scale
        weight = weight.to(hidden_states.dtype)
        if one:
            self.counted.one_token += 1
            return self._one_token(hidden_states, weight, position_embeddings, attention_mask, kwargs), None
        self.counted.many_tokens += 1
        return self._many_tokens(hidden_states, weight, position_embeddings, attention_mask, kwargs), None

    def _as_before(self, *args: Any, **kwargs: Any) -> tuple[Tensor, Any]:
        self.counted.as_before += 1
        return self.before(*args, **kwargs)

    def _understood(self, rotation: Any, mask: Tensor | None, kwargs: dict[str, Any]) -> bool:
        if torch.is_grad_enabled() or self.site.attention.training or (self.rotates and rotation is None):
            return False
        if mask is not None and (mask.dim() != 4 or mask.shape[1] != 1):
            return False
        return all(name in ALLOWED or value is None or value is False for name, value in kwargs.items())

    def _pays_at_one(self, weight: Tensor) -> bool:
        return self.when == "always" or weight.device.type == "cpu"

    def _pays_at_many(self, x: Tensor, weight: Tensor) -> bool:
        """Whether the products that are left out are more than what the pieces cost."""
        (batch, length, width), heads = x.shape, self.site.heads
        on = torch.count_nonzero(weight).item() / weight.numel()
        if on == 1:
            return False
        if self.when == "always":
            return True
        if x.device.type != "cpu":
            return False
        per_pair = 2 * self.site.head_width * (width + length / 2)
        left_out = (1 - on) * heads * batch * length * per_pair
        return left_out > heads * (HEAD_COST + TILE_COST * batch * on * length / TILE)

    def _one_token(
        self, x: Tensor, weight: Tensor, rotation: Any, mask: Tensor | None, kwargs: dict[str, Any]
    ) -> Tensor:
        """The layer's output [B, 1, D] for one token of each example."""
        batch, e = x.shape[0], self.site.head_width
        used = head_set(tuple((weight != 0).flatten(0, 1).any(0).tolist()), self.site.groups, x.device)
        if not used.heads:
            self._keys_values(x, rotation, kwargs)
            return self._bias(x.new_zeros(batch, 1, self.columns.shape[1]))
        attention: Any = self.site.attention
        project, flat = attention.q_proj, x.squeeze(1)  # [B, D]
        parts = [
            F.linear(flat, project.weight[a * e : b * e], None if project.bias is None else project.bias[a * e : b * e])
            for a, b in used.runs
        ]
        queries = (parts[0] if len(parts) == 1 else torch.cat(parts, -1)).view(batch, -1, 1, e)  # [B, u, 1, E]
        queries, keys, values = self._keys_values(x, rotation, kwargs, queries)
        out = _by_group(queries.squeeze(2), keys, values, mask, used, self.scale)  # [B, u, E]
        out = out * (weight.squeeze(1) if used.all_on else weight.squeeze(1).index_select(-1, used.index)).unsqueeze(-1)
        rows, start, made = out.flatten(1), 0, None
        for a, b in used.runs:
            part, start = rows[:, start : start + (b - a) * e], start + (b - a) * e
            columns = self.columns[a * e : b * e]
            made = part @ columns if made is None else made.addmm_(part, columns)
        assert made is not None
        return self._bias(made.unsqueeze(1))

    def _many_tokens(
        self, x: Tensor, weight: Tensor, rotation: Any, mask: Tensor | None, kwargs: dict[str, Any]
    ) -> Tensor:
        """The layer's output [B, L, D] from the pairs of token and head that are on."""
        (batch, length, width), e, attention = x.shape, self.site.head_width, self.site.attention
        weight = weight.expand(batch, length, -1).flatten(0, 1)  # [B·L, H]
        on, flat, per_group = weight != 0, x.reshape(-1, width), self.site.heads // self.site.groups
        counts = on.view(batch, length, -1).sum(1).t().tolist()  # [H][B]
        _, keys, values = self._keys_values(x, rotation, kwargs)
        if mask is None and keys.shape[2] > length:  # an empty cache of fixed size, as transformers has it
            keys, values = keys[:, :, :length], values[:, :, :length]
        visible = self.masks.of(mask, batch, length, keys)
        if self.rotates:
            cos, sin = (part.expand(batch, -1, -1).flatten(0, 1) for part in rotation)  # [B·L, E]
        project: Any = attention.q_proj
        merged = x.new_zeros(batch * length, self.columns.shape[1])
        for h in range(self.site.heads):
            total = sum(counts[h])
            if not total:
                continue
            rows = None if total == len(flat) else on[:, h].nonzero().flatten()  # [n], in order; None: all
            own = flat if rows is None else flat.index_select(0, rows)
            block = slice(h * e, (h + 1) * e)
            queries = F.linear(own, project.weight[block], None if project.bias is None else project.bias[block])
            if self.query_norm is not None:
                queries = self.query_norm(queries)
            if self.rotates:
                turns = (cos, sin) if rows is None else (cos.index_select(0, rows), sin.index_select(0, rows))
                queries = _rotated(queries, *turns)
            attended, start = [], 0
            for b, count in enumerate(counts[h]):
                places = None if rows is None else rows[start : start + count] - b * length
                memory = keys[b, h // per_group], values[b, h // per_group]
                attended += visible.attend(queries[start : start + count], places, b, memory, self.scale, TILE)
                start += count
            out = torch.cat(attended)
            gate = weight[:, h] if rows is None else weight[:, h].index_select(0, rows)
            out = out * gate.unsqueeze(-1)  # [n, E]
            if rows is None:
                merged.addmm_(out, self.columns[block])
            else:
                merged.index_add_(0, rows, out @ self.columns[block])
        return self._bias(merged.view(batch, length, -1))

    def _keys_values(
        self, x: Tensor, rotation: Any, kwargs: dict[str, Any], queries: Tensor | None = None
    ) -> tuple[Any, Tensor, Tensor]:
        """The queries [B, u, L, E] given, rotated, and keys and values [B, G, M, E], those of the cache included."""
        attention: Any = self.site.attention
        shape = (*x.shape[:2], -1, self.site.head_width)
        keys, values = (project(x).view(shape) for project in (attention.k_proj, attention.v_proj))
        if self.key_norm is not None:
            keys = self.key_norm(keys)
        keys, values = keys.transpose(1, 2), values.transpose(1, 2)
        if queries is not None and self.query_norm is not None:
            queries = self.query_norm(queries)
        if self.rotates:
            cos, sin = (part.unsqueeze(1) for part in rotation)
            if queries is None:
                keys = _rotated(keys, cos, sin)
            else:
                both = _rotated(torch.cat([queries, keys], 1), cos, sin)  # at one token the calls are what costs
                queries, keys = both.split([queries.shape[1], keys.shape[1]], 1)
        cache = next((kwargs[name] for name in CACHES if kwargs.get(name) is not None), None)
        if cache is not None:
            known = {"cache_position": kwargs.get("cache_position")}
            keys, values = cache.update(keys, values, attention.layer_idx, known)
        return queries, keys, values

    def _bias(self, out: Tensor) -> Tensor:
        bias = self.site.projection.bias
        return out if bias is None else out + bias


def _rotated(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary positions of [..., E], whose two halves hold the pairs."""
    one, other = x.chunk(2, -1)
    return x * cos + torch.cat([-other, one], -1) * sin


def _by_group(
    queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None, used: HeadSet, scale: float
) -> Tensor:
    """Attention of one query for each head in use, [B, u, E], over keys and values [B, G, M, E].

    The heads of a group are queries of one call, so that its keys are read once; where groups have different numbers of
    heads in use, the rows that are missing repeat another.
    """
    parts = []
    for run in used.groups:
        packed = queries if run.pack is None else queries.index_select(1, run.pack)
        packed = packed[:, run.start : run.end] if run.pack is None else packed
        packed = packed.unflatten(1, (run.last - run.first, -1))  # [B, groups, heads of each, E]
        stretch = slice(run.first, run.last)
        out = F.scaled_dot_product_attention(packed, keys[:, stretch], values[:, stretch], attn_mask=mask, scale=scale)
        out = out.flatten(1, 2)
        parts.append(out if run.unpack is None else out.index_select(1, run.unpack))
    return parts[0] if len(parts) == 1 else torch.cat(parts, 1)


def _no_weights(model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    asked = kwargs.get("output_attentions")
    if asked if asked is not None else getattr(getattr(model, "config", None), "output_attentions", False):
        raise ValueError("output_attentions=True: heads that are left out have no attention weights; ask outside skipping")


def _check(model: nn.Module, site: Site) -> None:
    where, kind = f"{type(model).__name__}: {site.name}", type(site.attention).__name__
    if kind not in LAYERS:
        raise ValueError(f"{where} is a {kind}, of which heads cannot be left out; it can be of {', '.join(LAYERS)}")
    attention: Any = site.attention
    form = getattr(attention.config, "_attn_implementation", "eager")
    if form not in ("eager", "sdpa"):
        raise ValueError(f"{where}: attention by {form}; heads can be left out under eager and sdpa")
    if isinstance(attention.forward, SkippingAttention):
        raise ValueError(f"{where} leaves out heads already; enter skipping once")
    for name in PROJECTIONS:
        projection = getattr(attention, name)
        if type(projection) is not nn.Linear:
            raise ValueError(
                f"{where}.{name} is a {type(projection).__name__}; heads can be left out of plain linear maps: merge "
                "adapters first"
            )
    if attention.o_proj.weight.device.type == "meta":
        raise ValueError(f"{where}: its weights are elsewhere (meta); load the whole model")


__all__ = ["LAYERS", "SkippingAttention", "skipping"]
