# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # A task of your own
#
# A task is a class: how a batch becomes vectors, how vectors become an answer, what the loss is and how right an
# answer is. This notebook writes one from scratch, trains two arms on it with three seeds each, and asks what can be
# said.
#
# The task is **jumping**: each of eight cards names a card. Start at a card, go to the one that it names, and from
# there to the one that *that* names. Where are you after four such jumps? A card knows which one it names, and one
# pass of attention follows one more arrow, so that a loop should help.
#
# %% [markdown]
# On Colab choose a GPU under Runtime, Change runtime type. The first cell installs headwise where it is not there yet.

# %%
import importlib.util
import os
import subprocess
import sys

if importlib.util.find_spec("headwise") is None:
    subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", "headwise"], check=True)

# %%
from dataclasses import dataclass
from pathlib import Path

import matplotlib.pyplot as plt
import torch
from torch import nn
from torch.nn import functional as F

import headwise

QUICK = os.environ.get("HEADWISE_QUICK") == "1"  # a try of seconds, whose numbers mean nothing
OUTPUT = Path("runs") / "jumping"

# %% [markdown]
# ## Data
#
# A frozen dataclass holds the settings: they become keys on the command line, `task.jumps=3`. Examples are a function
# of the settings, the seed and the split, so two arms with one seed see the same ones in the same order.


# %%
@dataclass(frozen=True)
class JumpingConfig:
    """Sizes of the data.

    Args:
        cards: how many there are.
        jumps: how often one goes on.
        train_examples: of the training set.
        test_examples: of the test set, and of validation.
    """

    cards: int = 8
    jumps: int = 4
    train_examples: int = 20000
    test_examples: int = 1000


class Cards(headwise.Source):
    def __init__(self, config, seed, examples):
        generator = torch.Generator().manual_seed(seed)
        self.named = torch.rand(examples, config.cards, generator=generator).argsort(1)  # [N, L], a permutation each

    def __len__(self):
        return len(self.named)

    def batch(self, index):
        return {"named": self.named[index]}


def reached(named, jumps):
    """The card after so many jumps from each card, [B, L]."""
    at = named
    for _ in range(jumps - 1):
        at = named.gather(1, at)
    return at


class JumpingData(headwise.TaskData):
    def split(self, name):
        place = ["train", "validation", "test"].index(name)
        examples = self.config.train_examples if name == "train" else self.config.test_examples
        return Cards(self.config, 3 * self.seed + place, examples)

    def references(self, source):
        """What trivial and best possible predictors reach on these very examples."""
        guess = torch.full((len(source),), 1 / self.config.cards)
        return {"floor": guess, "ceiling": torch.ones(len(source))}


# %% [markdown]
# ## The model's two ends
#
# Between `embed` and `read_out` stand the arm's blocks, whichever arm it is. Every module says its role, by which
# optimiser groups and the matching of parameters go. The loss is a sum for each example; `terms` says over how many.


# %%
class Jumping(headwise.Task):
    name, metric = "jumping", "accuracy"

    def __init__(self, config, facts, width):
        super().__init__(config, facts, width)
        self.own, self.named = nn.Embedding(config.cards, width), nn.Embedding(config.cards, width)
        self.scores = nn.Linear(width, config.cards)
        self.own.role = self.named.role = "backbone"
        self.scores.role = "readout"

    def embed(self, batch):
        return self.own.weight + self.named(batch["named"]), None  # [B, L, D], no mask

    def read_out(self, hidden, batch):
        return self.scores(hidden)  # [B, L, cards]

    def loss(self, prediction, batch):
        wanted = reached(batch["named"], self.config.jumps)
        return F.cross_entropy(prediction.transpose(1, 2), wanted, reduction="none").sum(1)

    def terms(self, batch):
        return torch.full((len(batch["named"]),), self.config.cards)

    def metrics(self, prediction, batch):
        right = prediction.argmax(-1) == reached(batch["named"], self.config.jumps)
        return {"accuracy": right.float().mean(1)}


ENTRY = headwise.TaskEntry(
    name="jumping",
    summary="where one is after following so many names",
    config=JumpingConfig,
    task=Jumping,
    data=JumpingData,
)
headwise.TASKS.register("jumping", ENTRY)

# %% [markdown]
# ## Does it keep the laws?
#
# That data follow from the seed, that an example's loss does not depend on its batch, that all of it trains: the laws
# that the shipped tasks are tested on are functions. An empty list is what one wants to see.

# %%
from headwise.laws.tasks import of_task

print(of_task("jumping"))

# %% [markdown]
# ## Two arms, three seeds
#
# `compare` matches the arms in parameters, pairs them over seeds and test examples, and ends in a sentence. It would
# say "too few seeds to say" as readily.

# %%
UPDATES, SEEDS = (20, 1) if QUICK else (500, 3)
settings = [
    "task=jumping", "device=auto", "model.width=64", "model.heads=4", "model.ffn=128",
    "training.preset.lr=0.005", f"training.updates={UPDATES}", f"training.validate_every={UPDATES // 10}",
]  # fmt: skip
arms = headwise.load_arms(["baseline", "looped:refinement.steps=4"], settings)
# The task exists in this process alone, so that runs go one after the other here; from a file it is --plugin mine.py
result = headwise.compare(arms, seeds=SEEDS, output=OUTPUT, jobs=1)
print(result["headline"])

# %%
from headwise.lab.report.write import write_report

print("the whole page:", write_report(OUTPUT))
figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
for (label, _), color in zip(arms, ("tab:grey", "tab:blue"), strict=True):
    for number, directory in enumerate(sorted(OUTPUT.glob(f"runs/{label.partition(':')[0]}*/seed*"))):
        lines = [line for line in headwise.open_run(directory).metrics if line["split"] == "validation"]
        axes.plot(
            [line["update"] for line in lines], [line["accuracy"] for line in lines],
            color=color, label=None if number else label,
        )  # fmt: skip
axes.axhline(1 / 8, color="black", linestyle=":", label="floor")
axes.set(xlabel="updates", ylabel="accuracy on validation", title="Four jumps: each line is a seed")
axes.legend()
figure.savefig(OUTPUT / "jumping.png", dpi=150)

# %% [markdown]
# ## In a file
#
# Put the cells up to `register` into `jumping.py`, and every command knows the task:
# `headwise train --plugin jumping.py task=jumping arm=hrm task.jumps=3`. Relations between tokens, shifts for
# `headwise ood`, answers for `headwise think`: [extending](../docs/extending.md).
