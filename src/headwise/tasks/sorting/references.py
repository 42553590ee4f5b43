"""What trivial and best possible predictors reach on given arrays, measured or computed on those very arrays.

- `floor`: a random permutation.
- `one_line_rule`: sort the visible elements, insert the masked ones as one block at the median of the unused integers.
  Without hints no rule is better; it does not read hints.
- `posterior_mean`: sort by the exact posterior mean of the rank.
- `ceiling`: the mean over pairs of |2 P - 1|, P the probability of the pair's order given what is shown: what the best
  possible order can expect. The luck of the hidden values is averaged out of it, so it is what a mean is compared to.

Legend: B arrays, n elements, m visible, U unused integers.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from headwise import files
from headwise.errors import InputError
from headwise.tasks.base import Batch
from headwise.tasks.sorting.arrays import POOL
from headwise.tasks.sorting.evidence import unused_below
from headwise.tasks.sorting.metrics import agreement, mean_over, pair_groups, rank_by
from headwise.tasks.sorting.posterior import Posterior, posterior

_CACHE_FORMAT = "1"  # part of the key: change it when the posterior or its file changes


def random_order(batch: Batch, seed: int) -> Tensor:
    """A random permutation per array, int64 [B, n]."""
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(batch["values"].shape, generator=generator, dtype=torch.float64).argsort(1)


def one_line_rule(batch: Batch) -> Tensor:
    """Ranks, int64 [B, n]: visible elements sorted, masked ones as one block at the median of the unused integers."""
    values, visible = batch["values"], batch["visible"]
    integers = POOL - visible.sum(1, keepdim=True)
    before = visible & (2 * unused_below(batch) < integers)  # more than half of the unused integers lie above
    block = torch.where(before, values, values.min() - 1).amax(1, keepdim=True) + 0.5
    return rank_by(torch.where(visible, values, block))


def posterior_mean(beliefs: Posterior) -> Tensor:
    """Ranks, int64 [B, n], by the expected number of elements below."""
    return rank_by(beliefs.below.sum(1))


def by_metric(batch: Batch, limit: int, seed: int, cache: Path | None) -> dict[str, dict[str, Tensor]]:
    """Every reference in every metric that is a mean over pairs: {metric: {reference: float [B]}}.

    Args:
        batch: the arrays.
        limit: references that need the posterior are computed on the first `limit` arrays and NaN on the rest.
        seed: of the random permutation, and of the sampling where the posterior is sampled.
        cache: a directory that keeps posteriors that are expensive, or None.
    """
    B, n = batch["values"].shape
    parts = []
    for rows in torch.split(torch.arange(B), max(1, 2**22 // n**2)):
        part = {name: array[rows] for name, array in batch.items()}
        parts.append(_measure(part, min(max(0, limit - int(rows[0])), len(rows)), seed + int(rows[0]), cache))
    return {
        metric: {name: torch.cat([part[metric][name] for part in parts]) for name in references}
        for metric, references in parts[0].items()
    }


def _measure(batch: Batch, limit: int, seed: int, cache: Path | None) -> dict[str, dict[str, Tensor]]:
    true, groups = batch["ranks"], pair_groups(batch)
    agreed = {
        "floor": agreement(random_order(batch, seed), true),
        "one_line_rule": agreement(one_line_rule(batch), true),
        "posterior_mean": torch.full_like(groups["rank_tau"], torch.nan, dtype=torch.float),
        "ceiling": torch.full_like(groups["rank_tau"], torch.nan, dtype=torch.float),
    }
    if limit:
        first = {name: array[:limit] for name, array in batch.items()}
        beliefs = _kept_posterior(first, seed, cache) if cache and "hints" in batch else posterior(first, seed)
        agreed["posterior_mean"][:limit] = agreement(posterior_mean(beliefs), true[:limit])
        agreed["ceiling"][:limit] = beliefs.certainty.float()
    return {
        metric: {name: mean_over(values, pairs) for name, values in agreed.items()} for metric, pairs in groups.items()
    }


def _kept_posterior(batch: Batch, seed: int, cache: Path) -> Posterior:
    """The posterior, kept under a digest of the arrays and the seed; a file that cannot be read is replaced."""
    digest = hashlib.sha256(f"{_CACHE_FORMAT} {seed}".encode())
    for name in sorted(batch):
        digest.update(name.encode() + np.ascontiguousarray(batch[name].numpy()).tobytes())
    path = cache / f"sorting-posterior-{digest.hexdigest()[:32]}.npz"
    try:
        kept = files.read_arrays(path, ("below", "certainty"))
        return Posterior(torch.from_numpy(kept["below"]), torch.from_numpy(kept["certainty"]))
    except InputError:
        beliefs = posterior(batch, seed)
    files.make_folder(cache)
    with files.writing(path) as new:
        np.savez(new, below=beliefs.below.numpy(), certainty=beliefs.certainty.numpy())
    return beliefs
