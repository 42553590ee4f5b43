"""A stand-in for `train` that writes a run directory out of made-up numbers.

In a module of its own, without what a comparison and its page import: worker processes load it, too.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from headwise.training.config import RunConfig

FLOOR, ONE_LINE_RULE, CEILING = 0.0004, 0.5001, 0.5014


@dataclass
class FakeTrain:
    """Writes what a run of `config` would leave; `scores[arm][seed]` is its value on the test examples.

    Attributes:
        failing: (arm, seed) that raise after some validations.
        calls: (arm, seed) in the order in which they were trained, with "resume" where that was asked for.
    """

    scores: Mapping[str, Sequence[float]]
    failing: frozenset[tuple[str, int]] = frozenset()
    calls: list[tuple[str, int, str]] = field(default_factory=list)

    def __call__(
        self, config: RunConfig, resume: Path | None = None, *, directory: Path | None = None, progress: bool = True
    ) -> Path:
        assert not progress, "a comparison shows one bar over its runs"
        path = resume or directory
        assert path is not None
        name, seed = config.name, config.seed
        self.calls.append((name, seed, "resume" if resume else "new"))
        path.mkdir(parents=True, exist_ok=True)
        (path / "config.yaml").write_text(json.dumps(config.to_plain()), encoding="utf-8")
        rng = np.random.default_rng([seed, *name.encode()])
        value = self.scores[name][seed]
        write_curves(path, config, value, rng)
        if (name, seed) in self.failing:
            raise RuntimeError(f"update 31: loss nan, gradients blew up in controller of {name}")
        examples = np.clip(np.random.default_rng(seed).normal(0, 0.15, 100), -0.5, 0.5)
        examples = examples + value - examples.mean() + rng.normal(0, 0.01, 100) * (name != "baseline")
        np.save(path / "test_values.npy", examples.astype(np.float32))
        summary = {
            "task": "sorting",
            "arm": name,
            "seed": seed,
            "metric": "rank_tau",
            "higher_is_better": True,
            "value": value,
            "floor": FLOOR + 1e-4 * seed,
            "ceiling": CEILING,
            "metrics": {"rank_tau": value, "rank_tau_visible": 0.99, "perfect": 0.0},
            "references": {"floor": FLOOR, "one_line_rule": ONE_LINE_RULE, "ceiling": CEILING},
            "references_by_metric": {"rank_tau_visible": {"ceiling": 1.0}},
            "parameters": 70000,
            "flops_per_example": 2e6 * config.arm.refinement.steps,
            "train_seconds": 4.0 + config.arm.refinement.steps,
            "updates": config.training.updates,
            "examples": 64 * config.training.updates,
            "refinement_steps_mean": float(config.arm.refinement.steps),
            "heads_active_mean": 4.0,
            "heads_executed_mean": 4.0,
            "headwise": {"version": "0.9", "commit": "0123456789abcdef", "dirty": seed == 1},
        }
        (path / "summary.json").write_text(json.dumps(summary), encoding="utf-8")
        return path


def write_curves(path: Path, config: RunConfig, value: float, rng: np.random.Generator) -> None:
    """metrics.jsonl and routing.jsonl of a run that approaches `value`."""
    updates = np.linspace(0, config.training.updates, 21)[1:].astype(int)
    steps, heads, layers = config.arm.refinement.steps, config.model.heads, config.model.depth
    start = rng.normal(0, 0.35, (steps, layers, heads))
    with (path / "metrics.jsonl").open("w") as metrics, (path / "routing.jsonl").open("w") as routing:
        for update in updates.tolist():
            learned = 1 - np.exp(-6 * update / config.training.updates)
            tau = float(value * learned + rng.normal(0, 0.002))
            loss = float(2.5 - 1.2 * learned)
            for split, score in (("train", {}), ("validation", {"rank_tau": tau})):
                line = {
                    "update": update,
                    "epoch": 0,
                    "split": split,
                    "task_loss": loss,
                    "seconds": 0.1 * update,
                    **score,
                }
                metrics.write(json.dumps(line) + "\n")
            gates = np.clip(1 + learned * start, 0, None).round(4).tolist() if config.arm.router.learned else []
            line = {"update": update, "epoch": 0, "split": "validation", "refinement_steps_mean": float(steps)}
            line |= {"heads_active_mean": float(heads), "gates": gates}
            if gates:
                line |= {"entropy_mean": 1 - 0.2 * float(learned), "herfindahl": 0.3, "top1_share": 0.4}
                line |= {"effective_heads_mean": heads - float(learned)}
                line |= {"dead_heads": 0.0, "slow_updates": 2.0, "temperature": 1.0}
            routing.write(json.dumps(line) + "\n")


SCORES = {
    "baseline": [0.4982, 0.4991, 0.4986, 0.4979, 0.4990],
    "looped": [0.4988, 0.4993, 0.4984, 0.4990, 0.4991],
    "hrm": [0.4979, 0.4988, 0.4990, 0.4983, 0.4985],
    "linear": [0.4985, 0.4990, 0.4981, 0.4984, 0.4994],
}
