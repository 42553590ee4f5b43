"""Names of the files in a run directory; what is in them stands at `headwise.training.run.train`."""

CONFIG, DATA = "config.yaml", "data.json"
METRICS, ROUTING = "metrics.jsonl", "routing.jsonl"
SUMMARY, TEST_VALUES, ANALYSIS = "summary.json", "test_values.npy", "analysis.json"
CHECKPOINTS = "checkpoints"  # a directory with these three
LAST, PREVIOUS, BEST = "last.ckpt", "previous.ckpt", "best.ckpt"
PROGRESS = "progress.json"  # only while the run trains without a terminal of its own
