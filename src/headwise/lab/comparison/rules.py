"""By which rule a comparison decides: what difference matters, and how often the data were looked at."""

from dataclasses import dataclass
from typing import Any

from headwise.lab.equivalence import check_effect
from headwise.lab.sequential import nominal


@dataclass(frozen=True)
class Rule:
    """What verdicts go by beside the data.

    Attributes:
        effect: the smallest difference of interest, in units of the metric; None where nobody named one.
        looks: with how many seeds the data were looked at, the last number being that of now; empty for a comparison
            whose seeds were chosen beforehand.
        most: seeds that there may be in the end, with looks.
        max_hours, max_seeds: the limits from which that follows.

    Raises:
        InputError: an effect that is not above 0.
    """

    effect: float | None = None
    looks: tuple[int, ...] = ()
    most: int = 0
    max_hours: float | None = None
    max_seeds: int | None = None

    def __post_init__(self) -> None:
        check_effect(self.effect)

    def level(self, alpha: float) -> float:
        """The two-sided p value below which a test at level alpha rejects now."""
        return nominal(self.looks, self.most, alpha) if self.looks else alpha

    @property
    def looks_to_plain(self) -> dict[str, Any] | None:
        """What comparison.json says of the looks; None without."""
        if not self.looks:
            return None
        limits = {"max_hours": self.max_hours, "max_seeds": self.max_seeds}
        return {"seeds": list(self.looks), "most": self.most, **limits}

    def one_sided(self, alpha: float) -> float:
        """The same for a one-sided test: half of a two-sided one at twice the level."""
        return self.level(2 * alpha) / 2


ONCE = Rule()
