"""Names of the files in a run directory; what is in them stands at `headwise.training.run.train`."""

import shlex
from pathlib import Path

from headwise import plugins

CONFIG, DATA = "config.yaml", "data.json"
METRICS, ROUTING = "metrics.jsonl", "routing.jsonl"
SUMMARY, TEST_VALUES, ANALYSIS = "summary.json", "test_values.npy", "analysis.json"
CHECKPOINTS = "checkpoints"  # a directory with these three
LAST, PREVIOUS, BEST = "last.ckpt", "previous.ckpt", "best.ckpt"
PROFILE = "profile"  # a directory with these three
TRACE, PARTS, PARTS_CSV = "trace.json.gz", "parts.json", "parts.csv"
FAILURE = "error.txt"  # why the run failed, if it did; gone when it goes on
PROGRESS = "progress.json"  # only while the run trains without a terminal of its own


def resume_command(directory: Path) -> str:
    """What to type to go on with the run in `directory`, with the plugins that this process has loaded."""
    named = [word for plugin in plugins.named() for word in ("--plugin", plugin)]
    return shlex.join(["headwise", "train", f"resume={directory}", *named])
