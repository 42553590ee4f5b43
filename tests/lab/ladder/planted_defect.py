"""The defect behind the published failure, as a row for the table of arms: forward masked, backward dense.

`python -m tests.lab.ladder.planted_defect <output> <key=value ...>` trains what `headwise train
<key=value ...>` would, with a backward pass that ignores the gates.
"""

import json
import sys
from pathlib import Path

from headwise.routing.attention import RoutedAttention
from headwise.training.configuration import load
from headwise.training.run import train
from tests.lab.ladder.test_ladder import combine_with_a_dense_backward


def main(output: str, *words: str) -> None:
    RoutedAttention.combine = combine_with_a_dense_backward  # type: ignore[method-assign]
    directory = train(load([*words, f"output={output}"]), progress=False)
    summary = json.loads((directory / "summary.json").read_text())
    lines = [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]
    norms = [value for key, value in lines[-2].items() if key.startswith("grad_norm/")]
    recall = summary["metrics"].get("recall")
    print(f"loss {summary['value']:.4f}, recall {recall}, gradient norm {sum(n**2 for n in norms) ** 0.5:.2f}")
    print(f"heads active {summary['heads_active_mean']:.2f}, run {Path(directory)}")


if __name__ == "__main__":
    main(*sys.argv[1:])
