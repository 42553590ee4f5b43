"""How fast mazes are made, and whether the reference walkers do what is known of them.

`python -m headwise.tasks.maze.bench` prints both, in about 20 s.
"""

from __future__ import annotations

import time

import torch

from headwise.tasks.maze.generate import GeneratorConfig, generate
from headwise.tasks.maze.lattice import Mazes
from headwise.tasks.maze.walkers import references

RATES = {
    "spanning_tree/16": (GeneratorConfig(size=16, family="spanning_tree"), 4096, 3000),
    "spanning_tree/30": (GeneratorConfig(size=30, family="spanning_tree"), 2048, 800),
    "depth_first/16": (GeneratorConfig(size=16), 4096, 300),
    "depth_first/16/paths>=102": (GeneratorConfig(size=16, min_path_length=102), 2048, 300),
    "depth_first/30": (GeneratorConfig(size=30), 1024, 30),
    "percolation/16": (GeneratorConfig(size=16, family="percolation"), 4096, 96),
}
"""What is generated, how many, and the rate to compare with: the aim; for the last two, what maze-dataset reaches."""

PUBLISHED = {
    GeneratorConfig(size=12, min_path_length=50): {"random": (0.27, 0.011), "toward_goal": (0.135, 0.034)},
    GeneratorConfig(size=16, min_path_length=102): {"random": (0.17, 0.001), "toward_goal": (0.035, 0.003)},
}
"""Shares of mazes reached and solved optimally by the reference walkers, from rough scripts with other mazes."""


def bench() -> dict[str, float]:
    """Mazes per second of one core, {name: rate}; from wall bits to the shortest path, splits and repetitions included.

    Processor time is counted, so that other work on the machine matters little.
    """
    rates = {}
    for name, (config, number, _) in RATES.items():
        generate(config, 1, seed=0)  # imports and first calls
        began = time.process_time()
        generate(config, number, seed=0)
        rates[name] = number / (time.process_time() - began)
    return rates


def reached_and_optimal(mazes: Mazes, seed: int = 0) -> dict[str, tuple[float, float]]:
    """Shares of mazes in which each reference walker reaches the goal, and reaches it by a shortest path."""
    length = torch.from_numpy(mazes.length)
    return {
        name: (done.reached.double().mean().item(), (done.reached & (done.steps == length)).double().mean().item())
        for name, done in references(mazes, seed).items()
    }


def _print() -> None:
    for name, rate in bench().items():
        aim = RATES[name][-1]
        print(f"{name:28}{rate:8.0f} mazes/s  {rate / aim:6.1f} times {aim}")
    for config, known in PUBLISHED.items():
        for name, (reached, optimal) in reached_and_optimal(generate(config, 4000, 0, "test")).items():
            before = "known {:.1%} {:.1%}".format(*known[name]) if name in known else ""
            print(
                f"{config.size:2} paths >= {config.min_path_length:3} {name:14}{reached:7.1%}{optimal:7.1%}  {before}"
            )


if __name__ == "__main__":
    _print()
