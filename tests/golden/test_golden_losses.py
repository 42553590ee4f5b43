"""The first 20 losses of a tiny recipe per arm family, kept beside this file. A change that moves them says so.

In float64: in float32 the last bit differs between processors, and a hard gate that flips on it is another model.
`python -m tests.golden.test_golden_losses` writes them anew.
"""

import contextlib
import itertools
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from headwise.training.configuration import load
from headwise.training.objective import objective
from headwise.training.optim import clip_by_role, optimizer_for
from headwise.training.start import build

FILE = Path(__file__).with_name("losses.json")
UPDATES = 20
ALONE = ["baseline", "looped", "gated", "random", "linear", "classical", "hrm", "hrm_token", "hrm_act", "pointer"]
SHAPE = ["model.width=16", "model.heads=4", "model.ffn=32", "training.batch_size=16"]
SORTING = ["task=sorting", "task.length=6", "task.train_examples=64"]
PARSING = [
    "task=parsing",
    "task.train_sentences=64",
    "task.arcs=16",
    "task.labels=8",
    "task.encoder={name: scratch, word: 8, characters: 8, hidden: 8, layers: 1}",
]
MAZE = [
    "task=maze",
    "task.size=4",
    "task.train_mazes=64",
    "task.positions=relative",
    "model.relative=2",
    "model.structural_heads=2",
]
CHARACTERS = ["task=maze_characters", "task.size=7", *MAZE[2:], "arm=looped", "task.loss=stablemax"]
WALK = ["task=walk", "task.nodes=6", "task.relations=3", "task.hops=3", "model.structural_heads=3"]
SUDOKU = ["task=sudoku", "task.size=4", "task.train_puzzles=64", "model.structural_heads=3"]
CHANGED = {
    "static": ["arm=static", "arm.router.k=2"],
    "random_k": ["arm=random_k", "arm.gate.k=2"],
    "moh": ["arm=moh", "arm.gate.k=2"],
    "gumbel": ["arm=gumbel", "arm.gate.k=2"],
    "top_p": ["arm=top_p"],
    "adaptive": ["arm=adaptive", "arm.balance.target=2"],
    "relu": ["arm=relu", "arm.balance.target=2"],
    "gated_12": ["arm=gated_12"],
    "top_k_12": ["arm=top_k_12", "arm.gate.k=2"],
    "gated_elementwise": ["arm=gated_elementwise"],
    "composed": ["arm=composed"],
    "composed_static": ["arm=static", "arm.router.k=2", "arm.composition_rank=2", "arm.output_gate=elementwise"],
    "hrm_ponder": ["arm=hrm", "arm.halting=ponder", "arm.refinement.supervision=last"],
    "hrm_gradient_last": ["arm=hrm", "arm.refinement.gradient=last"],
    "hrm_reuse_heads": ["arm=hrm", "arm.refinement.reuse=heads"],
}
FAMILIES = {name: [*SORTING, f"arm={name}"] for name in ALONE}
FAMILIES |= {name: [*SORTING, *own] for name, own in CHANGED.items()}
FAMILIES |= {f"parsing_{name}": [*PARSING, f"arm={name}"] for name in ("baseline", "pointer")}
FAMILIES |= {
    "maze_baseline": [*MAZE, "arm=baseline"],
    "maze_hrm_next_cell": [*MAZE, "arm=hrm", "task.read_out=next_cell", "task.read_out.horizon=2", "task.encoder=cnn"],
    "maze_looped_last_supervised": [
        *MAZE,
        "arm=looped",
        "arm.refinement.supervision=uniform",
        "arm.refinement.supervised=3",
    ],
    "maze_characters_looped_stablemax": CHARACTERS,
}
FAMILIES |= {
    "walk_oracle": [*WALK, "arm=oracle"],
    "walk_looped_gated_hops": [*WALK, "arm=looped_gated", "task.targets=hops", "arm.refinement.supervision=uniform"],
    "walk_sets_of_tokens": [
        *WALK,
        "arm=looped",
        "task.successors=1.5",
        "task.instruction=tokens",
        "task.curriculum=200",
        "model.structural_heads={r3: 1, r1: 2}",
        "model.ffn=0",
    ],
}
FAMILIES |= {
    "sudoku_looped": [*SUDOKU, "arm=looped"],
    "sudoku_hrm_token_all_stablemax": [
        *SUDOKU,
        "arm=hrm_token",
        "task.asked=all",
        "task.loss=stablemax",
        "task.positions=none",
    ],
}


@pytest.fixture(autouse=True)
def _float64() -> Iterator[None]:
    with in_float64():
        yield


@contextlib.contextmanager
def in_float64() -> Iterator[None]:
    """Inside the block weights, data and noise are float64 from the first random number on."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def losses(family: str) -> list[float]:
    """In a loop of plain torch, so that only models, tasks and the objective can move them."""
    config = load([*SHAPE, *FAMILIES[family]])
    data, model = build(config)
    source, found = data.split("train"), []
    optimizer = optimizer_for(model, config.training.preset)
    weights = config.training.losses | {"entropy": 0.01}
    epochs = (source.plan(config.training.batch_size, config.seed, n, shuffle=True) for n in itertools.count())
    for index in itertools.islice(itertools.chain.from_iterable(epochs), UPDATES):
        batch = {key: part.double() if part.is_floating_point() else part for key, part in source.batch(index).items()}
        loss = objective(model, batch, weights).loss
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        clip_by_role(optimizer, config.training.preset.clip())
        optimizer.step()
        found.append(loss.item())
    return found


@pytest.mark.parametrize("family", FAMILIES)
def test_the_first_losses_are_as_they_were(family: str) -> None:
    kept = json.loads(FILE.read_text(encoding="utf-8"))[family]
    assert losses(family) == pytest.approx(kept, rel=1e-9), f"{family} trains differently than before"


if __name__ == "__main__":
    with in_float64():
        lines = [f'"{family}": {json.dumps([round(loss, 12) for loss in losses(family)])}' for family in FAMILIES]
    FILE.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")
