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
# # Does the advantage of a routed arm last as models grow?
#
# A plain transformer and a recursive one with a router, matched in parameters within 1 % at each size, on the same data
# in the same order. This notebook plans the comparison, trains what is missing of it, and plots the result. The same
# from a terminal: `headwise scale task=maze 'sizes=[tiny,small]' 'arms=[baseline,hrm]' seeds=3`.
#
# It runs as it stands on a CPU or, by `device=auto`, on a GPU. With `HEADWISE_QUICK=1` in the environment it is a try
# of a minute whose numbers mean nothing.

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
from pathlib import Path

import torch
from rich.console import Console

import headwise
from headwise.lab.report.scaling import figures
from headwise.lab.report.scaling_tables import plan_text, scaling_text
from headwise.lab.report.write import write_report
from headwise.lab.scaling.plan import dry_run

QUICK = os.environ.get("HEADWISE_QUICK") == "1"
GPU = torch.cuda.is_available()
TASK = "maze"
SIZES = ["tiny"] if QUICK else ["tiny", "small", "medium", "large"] if GPU else ["tiny", "small"]
SEEDS = 1 if QUICK else 3
OUTPUT = Path(os.environ.get("HEADWISE_OUTPUT", "runs")) / f"scaling-{TASK}"
# Anything that `headwise scale` takes; on a GPU a larger batch keeps it busy
SETTINGS = [f"task={TASK}", "device=auto", *(["training.precision=bf16", "training.batch_size=256"] if GPU else [])]

console = Console(width=150, force_jupyter=False)


def show(parts):
    """Print tables and lines one after the other."""
    for part in parts:
        console.print(part)


# %% [markdown]
# ## The plan
#
# What each run (size, arm, seed) has, and what it takes: parameters, FLOPs, memory, time. A size that does not fit
# into this machine's memory is refused here, before anything is trained.

# %%
arms = headwise.load_arms(["baseline", "hrm"], SETTINGS)
plan = dry_run(arms, SIZES, SEEDS, output=OUTPUT)
show(plan_text(plan))

# %% [markdown]
# ## Training
#
# Interrupt it whenever you like: called again it goes on with what is missing, in the middle of a run if there is a
# checkpoint. Sizes and seeds may be added later.

# %%
result = headwise.scale(arms, SIZES, SEEDS, output=OUTPUT)
write_report(OUTPUT)
show(scaling_text(result))

# %% [markdown]
# ## Four plots
#
# Both metrics against parameters, and the advantage over the first arm at each size. Bars without an interval come from
# one seed.

# %%
for name, figure in figures(result).items():
    file = OUTPUT / f"{name}.png"
    figure.savefig(file, dpi=150, facecolor="white")
    try:
        from IPython.display import Image, display
    except ImportError:  # run as a script
        print(f"plotted: {file}")
    else:
        display(Image(filename=str(file)))

# %% [markdown]
# `scaling.json`, `scaling.csv` and `report.html` in the same directory hold everything shown here; each size has a page
# of its own beside them, with learning curves and what the routers did.
