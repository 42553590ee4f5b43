"""Shares of examples, with intervals."""

from __future__ import annotations

from dataclasses import dataclass

from scipy.stats import binomtest
from torch import Tensor


@dataclass(frozen=True)
class Proportion:
    """A share of `n` examples, with its 95 % Wilson interval."""

    share: float
    low: float
    high: float
    n: int


def proportion(values: Tensor) -> Proportion:
    """The share of ones among values that are 0 or 1 [B]; NaN with the interval 0..1 where there are none."""
    n, hits = len(values), round(float(values.double().sum()))
    if not n:
        return Proportion(float("nan"), 0.0, 1.0, 0)
    interval = binomtest(hits, n).proportion_ci(method="wilson")
    return Proportion(hits / n, float(interval.low), float(interval.high), n)
