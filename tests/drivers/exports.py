"""Exports every arm on every task, a step at a time, and compares ONNX Runtime with torch: it agrees, or is refused.

    python -m tests.drivers.exports [--only maze,sudoku] [--arms hrm,trm] [--steps 6]

Minutes long: the exporter takes some seconds for each graph. Exit code 1 where one neither agrees nor is refused.
"""

import argparse
import sys
import time
from dataclasses import replace
from typing import Any

import torch

from headwise.errors import InputError
from headwise.lab.export.onnx_file import Exported, compare, other_sizes, traced
from headwise.lab.export.refusals import refuse
from headwise.training.building import build_model, data_of, reproducible
from headwise.training.config import RunConfig
from tests.drivers.sound_runs import configurations

NOISE = 0.1
"""Added to the weights, so that routers, which start at zero, choose."""


def exported(config: RunConfig, steps: int | None = None) -> tuple[Exported, list[dict[str, Any]]]:
    """The graph of a model that has not been trained, of one block, and how it compares.

    Raises:
        InputError: it is refused.
    """
    refuse(config.entry.task, config.arm, steps)
    config = replace(config, model=replace(config.model, depth=1))
    with reproducible(config):
        data = data_of(config)
        source = data.split("test")
        model = build_model(config, data.facts).eval()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(NOISE * torch.randn_like(parameter))
        batches = [source.batch(torch.arange(rows)) for rows in (3, 2)]
        made = traced(model, batches[0], config, steps)
        return made, compare(made, [*batches, *other_sizes(config, data.facts, batches[0], made.graph.names)])


def main() -> int:
    """Print a line for each; exit code 1 if one neither agrees nor is refused."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", type=lambda text: text.split(","), help="tasks")
    parser.add_argument("--arms", type=lambda text: text.split(","), help="arms")
    parser.add_argument("--steps", type=int, help="unrolled; without, one step at a time")
    options = parser.parse_args()
    failed = 0
    for name, config in configurations(1, options.only, arms=options.arms):
        began = time.perf_counter()
        try:
            made, compared = exported(config, options.steps)
        except InputError as refusal:
            print(f"{name}: refused, {refusal}", flush=True)
            continue
        except Exception as error:
            failed += 1
            print(f"{name}: FAILED, {type(error).__name__}: {' '.join(str(error).split())[:400]}", flush=True)
            continue
        largest, sizes = max(one["difference"] for one in compared), {str(one["sizes"]) for one in compared}
        about = f"{largest:.1e} over {len(sizes)} sizes, {made.about['steps']} steps a time"
        print(f"{name}: {about}, {time.perf_counter() - began:.0f} s", flush=True)
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
