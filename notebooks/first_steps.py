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
# # First steps: train a model that refines its answer, and watch it
#
# A transformer reads its tokens once. A *looped* one applies the same block again and again: its answer is drafted,
# read, and improved. A *routed* one chooses, at each of these steps, which attention heads to use. This notebook
# trains three such models on a task of seconds, asks how many steps they need, and looks at the gates of the third.
#
# %% [markdown]
# On Colab choose a GPU under Runtime, Change runtime type. The first cell installs headwise where it is not there yet.

# %%
import importlib.util
import subprocess
import sys

if importlib.util.find_spec("headwise") is None:
    subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", "headwise"], check=True)

# %%
from pathlib import Path

import matplotlib.pyplot as plt

import headwise

OUTPUT = Path("runs") / "first_steps"

# %% [markdown]
# ## The task
#
# Six numbers are to be sorted of which four are masked. What is told of the masked ones is only how neighbours in the
# order compare, so the order follows, but through a chain of comparisons. One pass of attention can follow one link.

# %%
run = headwise.configure(["task=sorting_hints", "arm=looped", "device=auto"])
print(run.arm)
print(run.model)
print(run.training.updates, "updates of", run.training.batch_size)

# %% [markdown]
# ## Three arms
#
# An *arm* is one choice of router, gate function, controller, halting and refinement. `baseline` is a plain
# transformer of one block, `looped` applies the block six times, and `hrm_token` also has a recurrent controller and
# routers that weigh the heads of each token at each step. Everything else is the same: data, seed, updates.

# %%
runs = {}
for arm in ("baseline", "looped", "hrm_token"):
    config = headwise.configure(["task=sorting_hints", f"arm={arm}", "device=auto"])
    runs[arm] = headwise.open_run(headwise.train(config, directory=OUTPUT / arm, progress=False))
    print(f"{arm:10} rank tau {runs[arm].summary['value']:.3f}")

# %% [markdown]
# The score is Kendall's tau between the true order and the predicted one: 1 is the right order, 0 a random one. One
# seed shows what an arm *can* do; which of two arms is better takes several, and `headwise compare` says when they
# are enough.
#
# ## How many steps does it take?
#
# The weights of the loop, with fewer and with more steps than the six that they were trained with. Nothing is trained
# here.

# %%
STEPS = [2, 3, 4, 6, 8]
values = [headwise.evaluate(runs["looped"].directory, {"arm.refinement.steps": n})["value"] for n in STEPS]
print([round(value, 3) for value in values])

# %% [markdown]
# ## What do the heads do?
#
# `run.gates(example)` has a gate for each refinement step, layer, token and head: 0 is off, 1 is what plain attention
# does. They start at 1, so whatever differs from it was learned.

# %%
example = runs["hrm_token"].examples("test", number=1)[0]
gates = runs["hrm_token"].gates(example)  # [steps, layers, tokens, heads]
print(tuple(gates.shape), "from", round(gates.min().item(), 2), "to", round(gates.max().item(), 2))

# %%
figure, (left, right) = plt.subplots(1, 2, figsize=(11, 3.6), layout="constrained")
left.plot(STEPS, values, marker="o", label="looped")
left.axhline(runs["baseline"].summary["value"], color="grey", linestyle="--", label="baseline")
left.set(xlabel="refinement steps", ylabel="rank tau", title="The same weights, more steps")
left.legend()
steps, layers, tokens, heads = gates.shape
picture = right.imshow(gates[:, 0].reshape(steps * tokens, heads).T, cmap="RdBu_r", vmin=0, vmax=2, aspect="auto")
right.set(xlabel="token, step after step", ylabel="head", yticks=range(heads), title="Gates of one example (white: 1)")
for step in range(1, steps):
    right.axvline(step * tokens - 0.5, color="black", linewidth=0.8)
figure.colorbar(picture, ax=right)
figure.savefig(OUTPUT / "first_steps.png", dpi=150)

# %% [markdown]
# ## Where to go on
#
# - [Concepts](../docs/concepts.md): each of these words with a drawing.
# - [Your own task](your_own_task.py) and [your own router](your_own_router.py), the next two notebooks.
# - In a terminal: `headwise compare task=sorting_hints 'arms=[baseline,looped,hrm_token]' seeds=5`.
