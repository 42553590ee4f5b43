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
# # Routers in a pretrained model
#
# A language model that somebody trained uses all of its heads for every token. Does each token need them? This
# notebook puts a router into every attention layer of a pretrained model, fits the routers in one pass without any
# gradient, and measures what the model loses when each token keeps only a share of its heads, chosen by them or at
# random.
#
# %% [markdown]
# On Colab choose a GPU under Runtime, Change runtime type. The first cell installs headwise where it is not there yet.

# %%
import importlib.util
import os
import subprocess
import sys

if importlib.util.find_spec("headwise") is None:
    subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", "headwise[hf]"], check=True)

# %%
from pathlib import Path

import matplotlib.pyplot as plt
import torch

import headwise
from headwise.pretrained.opening import open_model

QUICK = os.environ.get("HEADWISE_QUICK") == "1"  # a try of seconds with random weights, whose numbers mean nothing
MODEL = "tiny" if QUICK else "HuggingFaceTB/SmolLM2-135M"  # any causal language model of transformers
OUTPUT = Path("runs") / "retrofit"
OUTPUT.mkdir(parents=True, exist_ok=True)
device = "cuda" if torch.cuda.is_available() else "cpu"

# %% [markdown]
# ## A model and a text
#
# Any English text will do; here it is what Python says of its own modules, which every machine has. The first half
# fits the routers, the second half is scored.

# %%
import inspect
import pkgutil
from importlib import import_module

NAMES = ["argparse", "asyncio", "collections", "datetime", "decimal", "email", "inspect", "json", "logging", "pathlib",
         "pickle", "random", "re", "statistics", "string", "tarfile", "textwrap", "threading", "urllib"]  # fmt: skip
known = {module.name for module in pkgutil.iter_modules()}
texts = []
for name in NAMES:
    members = vars(import_module(name)).values() if name in known else ()
    texts += [
        inspect.cleandoc(member.__doc__) for member in members if isinstance(getattr(member, "__doc__", None), str)
    ]
text = "\n\n".join(dict.fromkeys(texts))
print(len(text), "characters")

model, tokenizer = open_model(MODEL)
model.to(device)
context, blocks = (64, 8) if QUICK else (256, 48)
tokens = torch.tensor(tokenizer(text)["input_ids"])
blocks = min(blocks, len(tokens) // context)
batches = tokens[: blocks * context].view(blocks, 1, context).to(device)
fitted, held_out = batches[: blocks // 2], batches[blocks // 2 :]


@torch.no_grad()
def loss():
    """Nats a token on the held-out half."""
    return sum(model(block, labels=block).loss.item() for block in held_out) / len(held_out)


untouched = loss()
print(f"{untouched:.3f} nats a token")

# %% [markdown]
# ## Routers, at first without any effect
#
# After the retrofit the model is what it was, bit for bit: a test holds that for 22 architectures. It stays an object
# of its own class, and generates, trains and saves as before.

# %%
arm = headwise.Arm(router=headwise.LearnedRouter(), gate=headwise.Unit())
before = model(held_out[0]).logits
retrofitted = headwise.retrofit(model, arm)
print("bit for bit the same:", torch.equal(before, model(held_out[0]).logits))
print(len(retrofitted.routers), "routers of", retrofitted.sites[0].heads, "heads")

# %% [markdown]
# ## What fewer heads cost
#
# `warm_start` predicts from a layer's input how much each head will add at a token, by ridge regression, and sets one
# threshold over all layers. The control keeps as many heads of each layer, drawn anew for each token.

# %%
SHARES = [0.9, 0.75, 0.5]
added = {"chosen by routers": [], "at random": []}
torch.manual_seed(0)
for share in SHARES:
    retrofitted.warm_start(fitted, share=share)
    model.eval()
    added["chosen by routers"].append(loss() - untouched)
    masks = []
    for site in retrofitted.sites:
        order = torch.rand(1, context, site.heads).argsort(-1)
        masks.append((order < round(share * site.heads)).float().to(device))
    with retrofitted.forced(masks):
        added["at random"].append(loss() - untouched)
    print(f"{share:4.0%} of the heads:", {name: round(values[-1], 3) for name, values in added.items()}, "nats added")

# %% [markdown]
# The same masks for all blocks are a weak control: `headwise choices` puts the routers beside the best fixed choices
# and an oracle as well, with intervals over texts.
#
# ## Which layers keep their heads?
#
# One threshold over the model lets layers in which heads say more keep more of them.

# %%
retrofitted.warm_start(fitted, share=0.75)
model(held_out[0])
kept = [load.mean().item() for load in retrofitted.loads()]
figure, (left, right) = plt.subplots(1, 2, figsize=(11, 3.6), layout="constrained")
for name, values in added.items():
    left.plot(SHARES, values, marker="o", label=name)
left.set(xlabel="share of the heads that each token keeps", ylabel="nats added a token", title=MODEL.rpartition("/")[2])
left.invert_xaxis()
left.legend()
right.bar(range(len(kept)), kept)
right.axhline(0.75, color="black", linestyle=":")
right.set(xlabel="layer", ylabel="share of heads on", title="Kept at 75 %, by layer", ylim=(0, 1))
figure.savefig(OUTPUT / "retrofit.png", dpi=150)

# %% [markdown]
# ## And back
#
# `remove` gives the model back as it was. To keep the routers, tune them, leave heads out of the computation or cut
# them out of the weights: [pretrained models](../docs/pretrained.md).

# %%
retrofitted.remove()
print("as it was:", abs(loss() - untouched) < 1e-6)
