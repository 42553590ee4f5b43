"""Seconds in which 1000 mazes of 12 x 12 are decoded: forward passes, walks and metrics, with an untrained model.

The walk that asks again at each step depends on how sure the model is, so it is timed on a trained one, by
`headwise evaluate <run> task.read_out.decode=each_step`.
"""

import time

import torch

from headwise.models.arm import Arm
from headwise.models.backbone import Backbone
from headwise.models.sizes import sized
from headwise.reasoning.refinement import RefinementConfig
from headwise.schema import build
from headwise.tasks.base import TaskModel
from headwise.tasks.maze import MazeConfig, MazeData, MazeTask
from headwise.training.scoring import score

ALLOWED = {"grid": 10.0, "next_cell": 60.0}
"""Seconds on two cores, by read-out."""
BATCH = 250


def measure(mazes: int = 1000, size: int = 12, min_path_length: int = 50, steps: int = 4) -> dict[str, float]:
    """Seconds by read-out: the size `tiny`, half of its heads local, R steps, one forward pass for a whole walk."""
    shape = sized("tiny", structural_heads=2, relative=4)
    arm = Arm(refinement=RefinementConfig(steps=steps, injection="input"))
    values = {"size": size, "min_path_length": min_path_length, "test_mazes": mazes, "positions": "relative"}
    data = MazeData(build(MazeConfig, values, "task"), seed=0)
    source = data.split("test")
    seconds = {}
    for read_out in ALLOWED:
        config = build(MazeConfig, values | {"read_out": read_out}, "task")
        torch.manual_seed(0)
        model = TaskModel(MazeTask(config, data.facts, shape.width), Backbone(shape, arm)).eval()
        score(model, source, BATCH)  # first calls
        began = time.perf_counter()
        score(model, source, BATCH)
        seconds[read_out] = time.perf_counter() - began
    return seconds
