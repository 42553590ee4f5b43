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
# # A router of your own
#
# A router reads a layer's input and gives every attention head a number; a gate function makes gates of them. This
# notebook writes one: each head has a *prototype*, and a token opens the heads whose prototypes it resembles. Then
# the laws that the shipped routers are tested on are run over it, and it is trained where it is known which head is
# right.
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
from typing import ClassVar

import matplotlib.pyplot as plt
import torch
from torch import nn
from torch.nn import functional as F

import headwise

QUICK = os.environ.get("HEADWISE_QUICK") == "1"  # a try of seconds, whose numbers mean nothing
OUTPUT = Path("runs") / "router"

# %% [markdown]
# ## The router
#
# A frozen dataclass of settings builds the module. `Scored` does the rest: the gate function, temperatures, routing
# losses. The scale starts at zero, so all logits are equal, all gates are 1, and training starts as plain attention.


# %%
@headwise.ROUTERS.register("prototypes")
@dataclass(frozen=True)
class PrototypeRouter(headwise.RouterConfig):
    """the likeness of each token to a learned prototype of each head

    Args:
        width: dimensions in which they are compared.
    """

    width: int = 8
    granularity = "token"
    learned: ClassVar[bool] = True

    def build(self, gate, width, heads, context=0, layer=0, balance=headwise.BalanceConfig()):  # noqa: B008 - frozen
        return Prototypes(self, gate, width, heads, balance)


class Prototypes(headwise.Scored):
    def __init__(self, config, gate, width, heads, balance):
        super().__init__(gate, heads, balance)
        outputs = sum(self.columns.values())  # a number for each head, and whatever else the gate function takes
        self.of_input = nn.Linear(width, config.width, bias=False)
        self.prototypes = nn.Parameter(torch.randn(outputs, config.width))
        self.scale = nn.Parameter(torch.zeros(outputs))

    def logits(self, x, context, mask):
        likeness = F.normalize(self.of_input(x), dim=-1) @ F.normalize(self.prototypes, dim=-1).T  # [B, L, H]
        return self.scale * likeness

    def macs(self, length, positions):
        return length * (self.of_input.weight.numel() + self.prototypes.numel())


# %% [markdown]
# It does not set `reads_context`, so that an arm with this router and a controller is refused: the controller would
# never train.

# %%
loop = headwise.RefinementConfig(steps=3, injection="input")
arm = headwise.Arm(router=PrototypeRouter(), gate=headwise.Sigmoid(), refinement=loop)
headwise.ARMS.register("prototypes", arm)
try:
    steered = headwise.Arm(router=PrototypeRouter(), controller=headwise.HRMConfig(period=2), refinement=loop)
    headwise.check(steered, headwise.TaskFacts())
except headwise.InputError as refused:
    print(refused)

# %% [markdown]
# ## The laws
#
# Is the model plain attention while its gates are 1? Does every parameter get a gradient, and move? Does an example
# depend on its batch? An empty list is what one wants to see. A mistake is planted to see that they look.

# %%
from headwise.laws.walk import of_arm

print(of_arm(arm))

# %%
honest = Prototypes.logits
Prototypes.logits = lambda self, x, context, mask: honest(self, x.detach() - x.mean(0), context, mask)  # of the batch!
print(of_arm(arm)[:2])
Prototypes.logits = honest

# %% [markdown]
# ## Where the right head is known
#
# In the *walk* each of four heads sees along one relation of a graph, and an instruction says which relations to
# follow, two in a row. So at each step one head is right. `looped` cannot choose; `looped_gated` has the router that
# comes along; `oracle` is given the right head.

# %%
UPDATES = 20 if QUICK else 400
settings = [
    "task=walk", "device=auto", "task.hops=2", "arm.refinement.steps=2", "task.nodes=8", "task.relations=4",
    "model.width=32", "model.ffn=64", "model.structural_heads=4", "training.preset.lr=0.004",
    f"training.updates={UPDATES}", f"training.validate_every={UPDATES}",
]  # fmt: skip
runs = {}
for name in ("looped", "looped_gated", "prototypes", "oracle"):
    config = headwise.configure([*settings, f"arm={name}"])
    runs[name] = headwise.open_run(headwise.train(config, directory=OUTPUT / name, progress=False))
    values = runs[name].summary
    print(f"{name:13} {values['value']:.3f}")

# %% [markdown]
# One seed each on a CPU gave 0.76 for `looped`, 1.00 for `looped_gated`, 0.68 for `prototypes` and 1.00 for `oracle`: a
# router that keeps all laws, and has not learned to choose in these 400 updates. The laws say that it *can* learn, not
# that it does. One seed is no verdict, either; with the router in a file that is
# `headwise compare --plugin mine.py task=walk 'arms=[looped,looped_gated,prototypes]' seeds=5`.
#
# ## Which head opens for which instruction?
#
# The mean gate of each head at each step, over examples whose instruction asks for relation r at that step: a
# diagonal on the left of each picture is a router that opens the head of the relation that it is told to follow. In
# the run above there is a pale one at step 1 and none at step 2, and that is where it stands: gates that have barely
# left 1, as their scale starts at zero and grows slowly. What would you change: the scale, its learning rate, the
# number of updates?

# %%
examples = runs["prototypes"].examples("test", number=40 if QUICK else 200)
gates = torch.stack([runs["prototypes"].gates(example)[:, 0].mean(1) for example in examples])  # [N, steps, heads]
asked = torch.stack([example["instruction"][0, :2] for example in examples])  # [N, steps]
figure, axes = plt.subplots(1, 3, figsize=(12, 3.4), layout="constrained")
for step in range(2):
    mean = torch.stack([gates[asked[:, step] == relation, step].mean(0) for relation in range(4)])
    picture = axes[step].imshow(mean, cmap="RdBu_r", vmin=0, vmax=2)
    axes[step].set(title=f"Mean gates at step {step + 1}", xlabel="head", ylabel="relation that is asked for")
figure.colorbar(picture, ax=axes[:2])
axes[2].barh(list(runs), [run.summary["value"] for run in runs.values()], color="tab:blue")
axes[2].axvline(1 / 8, color="black", linestyle=":")
axes[2].set(title="Accuracy (dotted: a guess)", xlim=(0, 1))
figure.savefig(OUTPUT / "router.png", dpi=150)

# %% [markdown]
# Gate functions, controllers, halting policies and recursions are registered in the same way, and all commands know
# what is registered in a file by `--plugin`: [extending](../docs/extending.md).
