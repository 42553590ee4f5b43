"""The instructed walk: the two ends of the model. Nodes become tokens; hidden states become a score for each node.

Nodes have no names: all that tells one from another are the relations, along which structural heads see, and which of
them is the start. So the model is equivariant to their order, and no parameter depends on their number.

Legend: B batch, N nodes, K relations, T the most hops, L = N or N + T tokens, D width.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from headwise.models.refusals import TaskFacts
from headwise.routing.layout import Layout
from headwise.tasks.base import Batch, Shift, Task
from headwise.tasks.scenes import Example, Scene
from headwise.tasks.walk import metrics
from headwise.tasks.walk.config import WalkConfig
from headwise.tasks.walk.graphs import edges_of


class Nodes(nn.Module):
    """Whether a node is the start -> token."""

    role = "backbone"

    def __init__(self, width: int) -> None:
        super().__init__()
        self.is_start = nn.Embedding(2, width)

    def forward(self, batch: Batch) -> Tensor:
        """[B, N, D]."""
        tokens: Tensor = self.is_start(F.one_hot(batch["start"], batch["reached"].shape[2]))
        return tokens


class PlacedInstruction(nn.Module):
    """The relation at each place of an instruction -> embedding of that pair, the end of the instruction included."""

    role = "backbone"

    def __init__(self, relations: int, hops: int, width: int) -> None:
        super().__init__()
        self.relations = relations
        self.pair = nn.Embedding(hops * (relations + 1), width)

    def forward(self, instruction: Tensor) -> Tensor:
        """Relations [B, T] to [B, T, D]."""
        place = torch.arange(instruction.shape[1], device=instruction.device)
        tokens: Tensor = self.pair(place * (self.relations + 1) + instruction)
        return tokens


class SteppedInstruction(nn.Module):
    """The relation at each place of an instruction -> its embedding, wherever it stands; zeros behind the last one."""

    role = "backbone"

    def __init__(self, relations: int, width: int) -> None:
        super().__init__()
        self.relations = relations
        self.relation = nn.Embedding(relations, width)

    def forward(self, instruction: Tensor) -> Tensor:
        """Relations [B, T] to [B, T, D]."""
        named = instruction < self.relations
        tokens: Tensor = self.relation(torch.where(named, instruction, 0)) * named[..., None]
        return tokens


class NodeScores(nn.Module):
    """A score for each node, w . norm(hidden). Neither has a bias, which a softmax over nodes would cancel; the norm is
    there although backbones end in one, because it would cancel the bias of that one too."""

    role = "readout"

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width, bias=False)
        self.score = nn.Linear(width, 1, bias=False)

    def forward(self, hidden: Tensor) -> Tensor:
        """[B, N, D] to [B, N]."""
        scores: Tensor = self.score(self.norm(hidden))[..., 0]
        return scores


class WalkTask(Task):
    """Say where the walk ends. A prediction is a score for each node [B, N]: of one answer a softmax, of sets each node
    on its own, in it where the score is above 0."""

    name: ClassVar[str] = "walk"
    metric: ClassVar[str] = "accuracy"
    exact: ClassVar[str | None] = "accuracy"
    training_size: ClassVar[str | None] = "train_examples"
    metric_range: ClassVar[tuple[float, float]] = (0.0, 1.0)

    config: WalkConfig

    def __init__(self, config: WalkConfig, facts: dict[str, Any], width: int) -> None:
        super().__init__(config, facts, width)
        self.nodes = Nodes(width)
        self.instruction: PlacedInstruction | SteppedInstruction
        K = len(config.names)
        if config.instruction == "steps":
            self.instruction = SteppedInstruction(K, width)
        else:
            self.instruction = PlacedInstruction(K, config.hops, width)
        self.scores = NodeScores(width)

    @classmethod
    def relations(cls, config: WalkConfig) -> tuple[str, ...]:
        """r1, r2, ...: from a node to those that lead to it."""
        return config.names

    @classmethod
    def declared(cls, config: WalkConfig) -> TaskFacts:
        """A route of so many hops, and a target for each if they are asked for."""
        told = config.hops if config.pauses else config.most_trained
        targets = told if config.targets == "hops" else 0
        return TaskFacts(cls.causal, cls.relations(config), hops=config.hops, targets=targets, judged=True)

    @classmethod
    def shifts(cls, config: WalkConfig) -> dict[str, Shift]:
        """Instructions of more hops than trained on, each test example of exactly so many.

        Where the instruction is told step by step, steps grow with it, from those for the most hops that a run tells.
        """
        trained, stepped = config.most_trained, config.instruction == "steps"

        def longer(hops: int) -> dict[str, Any]:
            return {"hops": max(hops, config.hops), "train_hops": trained, "test_hops": hops}

        return {
            "hops": Shift(
                "relations that an instruction names",
                f"1 to {config.hops}",
                longer,
                tuple(dict.fromkeys((trained, trained + 1, math.ceil(1.5 * trained), 2 * trained))),
                drawn=config.graph is None,
                steps=lambda hops: max(1.0, hops / config.hops) if stepped else 1.0,
            )
        }

    def embed(self, batch: Batch) -> tuple[Tensor, Tensor | None]:
        """[B, N, D], with the instruction in every node if it is to be there; or with its tokens behind the nodes
        [B, N + T, D], those after its end being padding."""
        nodes = self.nodes(batch)
        if self.config.instruction == "steps":
            return nodes, None
        instruction = self.instruction(batch["instruction"])
        if self.config.instruction == "nodes":
            return nodes + instruction.sum(1, keepdim=True), None
        real = batch["instruction"] < self.instruction.relations
        return torch.cat([nodes, instruction], 1), torch.cat([real.new_ones(nodes.shape[:2]), real], 1)

    def layout(self, batch: Batch) -> Layout:
        """A node sees along a relation the nodes that it leads from; an instruction's tokens see along none. With an
        instruction by steps also what is added at each of them."""
        K, instruction = self.instruction.relations, batch["instruction"]
        backward = edges_of(batch, K).transpose(2, 3)  # [B|1, K, N, N]
        if self.config.instruction == "tokens":
            more = instruction.shape[1]
            backward = F.pad(backward, (0, more, 0, more))
        seen = {name: backward[:, place] for place, name in enumerate(self.config.names)}
        route = torch.where(instruction < K, instruction, -1)
        inputs = None
        if self.config.instruction == "steps":
            inputs = self.instruction(instruction).transpose(0, 1).unsqueeze(2)  # [T, B, 1, D]
        return Layout(relations=seen, route=route, inputs=inputs)

    def at_step(self, batch: Batch, step: int) -> Batch:
        """With targets for each hop, the walk as far as it has come."""
        if self.config.targets == "answer":
            return batch
        return batch | {"reached": batch["reached"][:, : step + 1]}

    def read_out(self, hidden: Tensor, batch: Batch) -> Tensor:
        """Scores [B, N] from the hidden states of the nodes; those of the instruction are not read."""
        scores: Tensor = self.scores(hidden[:, : batch["reached"].shape[2]])
        return scores

    def loss(self, prediction: Tensor, batch: Batch) -> Tensor:
        """Nats of the right node, or summed over nodes where answers are sets, [B]."""
        # At least single precision; double stays double, for finite differences.
        scores = prediction.to(torch.promote_types(prediction.dtype, torch.float32))
        answer = batch["reached"][:, -1]
        if self.config.many:
            return F.binary_cross_entropy_with_logits(scores, answer.to(scores), reduction="none").sum(1)
        return F.cross_entropy(scores, answer.byte().argmax(1), reduction="none")

    def terms(self, batch: Batch) -> Tensor:
        """One answer, or N nodes, [B]."""
        return torch.full_like(batch["start"], batch["reached"].shape[2] if self.config.many else 1)

    def metrics(self, prediction: Tensor, batch: Batch) -> dict[str, Tensor]:
        """As `metrics.measure`, of the node with the largest score; or, with jaccard, of all with one above 0."""
        nodes = self.answer(prediction, batch).bool()
        found = metrics.measure(nodes, batch)
        return found | {"jaccard": metrics.jaccard(nodes, batch)} if self.config.many else found

    def answer(self, prediction: Tensor, batch: Batch) -> Tensor:
        """Which nodes it names, 0 or 1, [B, N]: the one with the largest score; or all with one above 0."""
        if self.config.many:
            return (prediction > 0).long()
        return F.one_hot(prediction.argmax(1), prediction.shape[1])

    def scene(self, example: Example, predictions: Sequence[Any]) -> Scene:
        """See `walk.scene`."""
        from headwise.tasks.walk.scene import scene

        return scene(self, example, predictions)
