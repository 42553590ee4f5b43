"""Leaving out heads that are off in a retrofitted model, so that a choice per token saves time at evaluation.

The hooks of `headwise.pretrained.gating` multiply heads that were computed. Within `skipping(retrofitted)` the
attention layers compute the same output from the heads that are on. Keys and values of all groups are made and go into
the cache, as a later token may need them.

    one token    queries, scores and output rows of the heads that some example of the batch uses
    many tokens  scores of the (token, head) pairs that are on, gathered block by block of 64 tokens; queries and output
                 rows of a head for all tokens where most use it, else for those that do (`headwise.pretrained.pairs`).
                 A head that no token uses costs nothing, nor do its scores in a block whose tokens do not use it.

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
from headwise.pretrained.pairs import BLOCK, Pairs, Visible
from headwise.pretrained.retrofit import Retrofitted
from headwise.pretrained.sites import Site

LAYERS = ("LlamaAttention", "MistralAttention", "Qwen2Attention", "Qwen3Attention", "SmolLM3Attention")
"""Classes of attention layers whose computation is known here."""
PROJECTIONS = ("q_proj", "k_proj", "v_proj", "o_proj")
CACHES = ("cache", "past_key_values", "past_key_value")
"""Names that versions of transformers have for the cache."""
ALLOWED = {"position_ids", "use_cache", "cache_position", "logits_to_keep", *CACHES}
"""Arguments of a layer besides its input, rotation and mask that it may be given without changing what it computes."""
LAYER_COST, CALL_COST, KEPT = 1e7, 5e5, 0.5
"""What skipping costs a layer in a pass of many tokens, in multiply-accumulates of one CPU thread (20 a nanosecond):
sorting the pairs, half a millisecond; each group's call for a block of tokens, 25 microseconds; and what it saves of
the products that are left out, as heads that most tokens use are projected for all. Fitted to a layer of 9 heads of 64
at 32 to 512 tokens with 56 to 89 % of the pairs on: it skips where that paid and nowhere else."""

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
        calls = batch * self.site.groups * -(-length // BLOCK)
        return KEPT * left_out > LAYER_COST + CALL_COST * calls

    def _one_token(
        self, x: Tensor, weight: Tensor, rotation: Any, mask: Tensor | None, kwargs: dict[str, Any]
    ) -> Tensor:
        """The layer's output [B, 1, D] for one token of each example."""
        batch, e = x.shape[0], self.site.head_width
        by_example = weight.flatten(0, 1).tolist()  # [B][H]
        used = head_set(tuple(map(any, zip(*by_example, strict=True))), self.site.groups, x.device)
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
        own = weight if used.all_on else weight.index_select(-1, used.index)  # [B, 1, u]
        out = out * own.transpose(1, 2)
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
        (batch, length, width), heads, e = x.shape, self.site.heads, self.site.head_width
        weight, flat = weight.expand(batch, length, -1), x.reshape(-1, width)
        pairs = Pairs.of(weight != 0, self.site.groups)
        _, keys, values = self._keys_values(x, rotation, kwargs)
        if mask is None and keys.shape[2] > length:  # an empty cache of fixed size, as transformers has it
            keys, values = keys[:, :, :length], values[:, :, :length]
        visible = self.masks.of(mask, length, keys)
        queries = self._queries(flat, pairs).view(-1, e).index_select(0, pairs.places)  # [P, E]
        if self.query_norm is not None:
            queries = self.query_norm(queries)
        if self.rotates:
            cos, sin = (part.expand(batch, -1, -1).flatten(0, 1).index_select(0, pairs.tokens) for part in rotation)
            queries = _rotated(queries, cos, sin)
        out = visible.attend(queries, pairs, keys, values, self.scale)
        out = out * weight.flatten().index_select(0, pairs.places).unsqueeze(-1)
        merged = out.new_zeros(batch * length * heads, e).index_copy_(0, pairs.places, out).view(-1, heads * e)
        return self._bias(self._projected(merged, pairs).view(batch, length, -1))

    def _queries(self, x: Tensor, pairs: Pairs) -> Tensor:
        """[B·L, H·E], of which only the pairs that are on need mean anything.

        A head that most tokens use is computed for all of them: gathering costs what that saves.
        """
        attention: Any = self.site.attention
        weight, bias, e = attention.q_proj.weight, attention.q_proj.bias, self.site.head_width
        if pairs.often == ((0, self.site.heads),):
            return F.linear(x, weight, bias)
        made = x.new_empty(len(x), len(weight))
        for a, b in pairs.often:
            block = slice(a * e, b * e)
            made[:, block] = F.linear(x, weight[block], None if bias is None else bias[block])
        for head, rows in pairs.seldom.items():
            block = slice(head * e, (head + 1) * e)
            own = F.linear(x.index_select(0, rows), weight[block], None if bias is None else bias[block])
            made[:, block].index_copy_(0, rows, own)
        return made

    def _projected(self, outputs: Tensor, pairs: Pairs) -> Tensor:
        """[B·L, H·E], 0 where a head is off, to [B·L, D]."""
        e = self.site.head_width
        if pairs.often == ((0, self.site.heads),):
            whole: Tensor = outputs @ self.columns
            return whole
        made = outputs.new_zeros(len(outputs), self.columns.shape[1])
        for a, b in pairs.often:
            block = slice(a * e, b * e)
            made.addmm_(outputs[:, block], self.columns[block])
        for head, rows in pairs.seldom.items():
            block = slice(head * e, (head + 1) * e)
            made.index_add_(0, rows, outputs[:, block].index_select(0, rows) @ self.columns[block])
        return made

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
                queries, keys = torch.split(both, [queries.shape[1], keys.shape[1]], 1)
        cache = next((kwargs[name] for name in CACHES if kwargs.get(name) is not None), None)
        if cache is not None:
            known = {"cache_position": kwargs.get("cache_position")}
            keys, values = cache.update(keys, values, attention.layer_idx, known)
        return queries, keys, values

    def _bias(self, out: Tensor) -> Tensor:
        bias = self.site.projection.bias
        return out + bias if isinstance(bias, Tensor) else out


def _rotated(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary positions of [..., E], whose two halves are the two coordinates that are turned."""
    half, turned = x.shape[-1] // 2, x * cos
    turned[..., :half].addcmul_(x[..., half:], sin[..., :half], value=-1)
    turned[..., half:].addcmul_(x[..., :half], sin[..., half:])
    return turned


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
        packed = packed.reshape(
            len(packed), run.last - run.first, -1, packed.shape[-1]
        )  # [B, groups, heads of each, E]
        stretch = slice(run.first, run.last)
        out = F.scaled_dot_product_attention(packed, keys[:, stretch], values[:, stretch], attn_mask=mask, scale=scale)
        out = out.flatten(1, 2)
        parts.append(out if run.unpack is None else out.index_select(1, run.unpack))
    return parts[0] if len(parts) == 1 else torch.cat(parts, 1)


def _no_weights(model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    asked = kwargs.get("output_attentions")
    if asked if asked is not None else getattr(getattr(model, "config", None), "output_attentions", False):
        raise ValueError(
            "output_attentions=True: heads that are left out have no attention weights; ask outside skipping"
        )


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
