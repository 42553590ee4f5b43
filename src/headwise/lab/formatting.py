"""How numbers are written in tables, verdicts, plots and reports: the same everywhere."""

import math
from collections.abc import Sequence

MISSING = "–"
MINUS = "\N{MINUS SIGN}"
NARROW_SPACE = "\N{NARROW NO-BREAK SPACE}"


def format_metric(x: float | None, signed: bool = False) -> str:
    """A metric: four decimals below 10 (the standard error of 5000 examples is in the third), four digits above."""
    if x is None or not math.isfinite(x):
        return MISSING
    text = f"{abs(x):.4f}" if abs(x) < 10 else f"{abs(x):.4g}"
    negative = x < 0 and float(text) != 0
    return (MINUS if negative else "+" if signed else "") + text


def format_difference(x: float | None, signed: bool = False) -> str:
    """A difference of metrics: as a metric, but with two digits below 0.001, as differences may be that small."""
    if x is None or not math.isfinite(x) or abs(x) >= 0.001 or abs(x) < 1e-9:
        return format_metric(x, signed)
    return format_decimal(x, 1 - math.floor(math.log10(abs(x))), signed)


def format_decimal(x: float | None, digits: int, signed: bool = False) -> str:
    """With so many digits behind the point, and a true minus sign."""
    if x is None or not math.isfinite(x):
        return MISSING
    text = f"{abs(x):.{digits}f}"
    return (MINUS if x < 0 and float(text) else "+" if signed else "") + text


def format_short(x: float | None) -> str:
    """Two decimals, none for a whole number."""
    return format_decimal(x, 2).removesuffix(".00")


def format_interval(bounds: Sequence[float] | None) -> str:
    """Both ends, each as a metric: 0.4977 to 0.5000."""
    return MISSING if bounds is None else f"{format_metric(bounds[0])} to {format_metric(bounds[1])}"


def format_interval_of_difference(bounds: Sequence[float] | None, signed: bool = True) -> str:
    """Both ends, each as a difference: +0.00052 to +0.0031."""
    if bounds is None:
        return MISSING
    return f"{format_difference(bounds[0], signed)} to {format_difference(bounds[1], signed)}"


def format_p(p: float | None) -> str:
    """A p value with two significant digits or three decimals; below 0.001 only that."""
    if p is None:
        return MISSING
    return "< 0.001" if p < 0.001 else f"{p:.3f}" if p < 0.1 else f"{p:.2f}"


def format_percent(share: float) -> str:
    """Two digits, as in 0.84 %, 8.4 %, 84 %; a whole number without its zero, as in 5 %."""
    x = 100 * share
    digits = 2 if abs(x) < 0.995 else 1 if abs(x) < 9.95 else 0
    return f"{format_decimal(x, digits)} %".replace(".0 %", " %")


def format_normalised(score: float) -> str:
    """A normalised score in per cent: one decimal, as near the ceiling that is where arms differ."""
    return f"{format_decimal(100 * score, 1)} %"


def format_confidence(confidence: float) -> str:
    """A confidence in per cent: 95 %, 98.3 %, 99.97 %."""
    digits = 1 if confidence < 0.999 else 2 if confidence < 0.9999 else 4
    return f"{format_decimal(100 * confidence, digits)} %".replace(".0 %", " %")


def format_count(n: float | None) -> str:
    """A whole number with its thousands apart: 266 376."""
    return MISSING if n is None else f"{round(n):,}".replace(",", NARROW_SPACE)


def format_magnitude(x: float | None) -> str:
    """Three digits and a prefix: 1.23 M, 45.6 G."""
    if x is None or not math.isfinite(x):
        return MISSING
    for size, prefix in ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(x) >= 0.9995 * size:
            return f"{_three_digits(x / size)} {prefix}"
    return _three_digits(x)


def format_duration(seconds: float | None) -> str:
    """Seconds, minutes or hours, whichever is read most easily."""
    if seconds is None or not math.isfinite(seconds):
        return MISSING
    if seconds < 99.5:
        return f"{_three_digits(seconds) if seconds >= 0.01 else '0.00'} s"
    if seconds < 5400:
        return f"{seconds / 60:.1f} min"
    return f"{seconds / 3600:.1f} h"


def join_words(words: list[str]) -> str:
    """a, b and c."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}" if words else ""


def format_quantity(n: int, noun: str) -> str:
    """1 seed, 3 seeds."""
    return f"{format_count(n)} {noun}" + ("" if n == 1 else "s")


def _three_digits(x: float) -> str:
    digits = 0 if abs(x) >= 99.95 else 1 if abs(x) >= 9.995 else 2
    return f"{x:.{digits}f}"
