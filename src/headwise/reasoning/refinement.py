"""Refinement: one weight-tied stack of blocks applied up to R times; here its settings, in `headwise.reasoning.refiner`
the loop.

Legend: B batch, L length, D width, K supervised steps.

    h_0 = embed(x);   h_t = stack(h_{t-1} + e_t);   e_1 = 0, and for t > 1 e_t = h_0 (injection "input") or 0 ("none");
    to what the stack is given comes what the layout has for step t, where it has something

That is the default: what else can be iterated is in `headwise.reasoning.recursion`, and what else to start from in
`headwise.reasoning.initial_states`. With S segments an example is trained on S times R steps, each segment from the
detached state of the one before.
"""

from dataclasses import dataclass
from typing import Literal

from headwise.errors import InputError
from headwise.reasoning import INITIAL_STATES, RECURSIONS
from headwise.reasoning.initial_states import EmbeddingState, InitialStateConfig
from headwise.reasoning.recursion import Recursion, SingleStream
from headwise.schema import named


@dataclass(frozen=True)
class RefinementConfig:
    """How the stack is iterated.

    Args:
        steps: R, the most steps an example takes; default 1, a plain transformer. Of two streams a segment has
            R = T·period, T updates of the answer.
        gradient: full (default); truncated: the last `window` steps; last: the window opens at the last update of the
            slow module, so that it trains while memory stays independent of R, and of two streams at the last cycle,
            as in TRM.
        window: steps with gradient under `truncated`; 2 with two streams trains the last step of each, as in HRM.
        injection: add the embedding again before each further step (input) or not (none, default). Two streams read
            it as they are.
        supervision: last (default): the loss sees the final state; uniform: the mean over the steps with gradient;
            ramp: weights rising from 0.3 to 1, normalised. Of two streams the updates of the answer count.
        reuse: over steps: none (default); keys_values: those of the first step, with fresh queries; heads: the head
            outputs of the first step, so that only the gates change. Each segment computes its own.
        segments: S, supervised segments of each example (default 1), every one an update of its own on the same batch,
            from the detached state in which the one before ended, as HRM and TRM train. At evaluation all R·S steps.
        supervised: under `uniform` and `ramp` only the last so many steps are supervised, so that the first need not
            come to a result; default null, all with gradient.
        recursion: what is iterated.
        initial_state: what it starts from.
        noise: standard deviation of normal noise on the path, added in training to the state that a step has changed
            before the next step reads it (EqR: 0.01); default 0. What is read out is without it.
    """

    steps: int = 1
    gradient: Literal["full", "truncated", "last"] = "full"
    window: int = 1
    injection: Literal["none", "input"] = "none"
    supervision: Literal["last", "uniform", "ramp"] = "last"
    reuse: Literal["none", "keys_values", "heads"] = "none"
    segments: int = 1
    supervised: int | None = None
    recursion: Recursion = named(RECURSIONS, SingleStream())
    initial_state: InitialStateConfig = named(INITIAL_STATES, EmbeddingState())
    noise: float = 0.0

    def __post_init__(self) -> None:
        for key, kind in (("recursion", Recursion), ("initial_state", InitialStateConfig)):
            if not isinstance(part := getattr(self, key), kind):
                raise InputError(
                    f"arm.refinement.{key}={type(part).__module__}.{type(part).__qualname__}: not a part of that kind; "
                    f"derive its class from headwise.{kind.__name__}"
                )
        if self.steps < 1:
            raise ValueError(f"steps={self.steps}: choose at least 1")
        if self.steps % (cycle := self.recursion.cycle):
            raise ValueError(
                f"steps={self.steps}: the answer is updated every {cycle} steps (recursion), and last; choose a "
                f"multiple of {cycle}"
            )
        if self.segments < 1:
            raise ValueError(f"segments={self.segments}: choose at least 1")
        if not 1 <= self.window <= self.steps:
            raise ValueError(f"window={self.window}: choose 1..{self.steps} (steps)")
        if self.supervised is not None and not 1 <= self.supervised <= self.steps:
            raise ValueError(f"supervised={self.supervised}: choose 1..{self.steps} (steps), or null")
        if self.noise < 0:
            raise ValueError(f"noise={self.noise}: choose 0 or more")

    @property
    def steps_in_all(self) -> int:
        """R·S, the steps of an example in all its segments; an evaluation takes them at once."""
        return self.steps * self.segments

    @property
    def reads_embedding(self) -> bool:
        """Whether the embedding is read after the first step, too."""
        return self.injection == "input" or self.recursion.injects

    @property
    def draws(self) -> bool:
        """Whether training draws something for each example, and so asks for its key."""
        return self.initial_state.draws or self.noise > 0

    def first_with_gradient(self, slow_period: int | None) -> int:
        """The first step (from 1) that is trained; `slow_period` is the controller's, None without a schedule."""
        if self.gradient == "full":
            return 1
        if self.gradient == "truncated":
            return self.steps - self.window + 1
        # The last slow update and the last cycle lie in the window
        return min(self.steps - (self.steps - 1) % period for period in (slow_period or 1, self.recursion.cycle))

    def answers_since(self, first: int) -> int:
        """How many of the steps of a segment from `first` on update the answer."""
        return sum(self.recursion.answers(t) for t in range(first, self.steps + 1))


@dataclass(frozen=True)
class PathNoise:
    """Noise on the path.

    Attributes:
        deviation: its standard deviation; default 0, none.
        every: steps after which it is added, to the states that they have changed; default 1.
    """

    deviation: float = 0.0
    every: int = 1
