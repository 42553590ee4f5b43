"""A run as a model again: its data, its weights before and after training, and the rules about them."""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from headwise.files import typed
from headwise.lab.doctor.case import Case, repeatable, rows_of
from headwise.lab.doctor.findings import Rules, Seen, listed
from headwise.lab.formatting import format_percent
from headwise.lab.ladder.checks import RELATIVE_ERROR
from headwise.lab.ladder.finite_differences import disagreement
from headwise.lab.ladder.gradients import segment_objectives, unmoved
from headwise.laws.independence import looks_ahead
from headwise.laws.tasks import together_and_alone
from headwise.models.roles import parameters_by_role
from headwise.tasks.base import Batch, Source, TaskData, TaskModel
from headwise.training.building import build_model
from headwise.training.checkpoints import read_checkpoint
from headwise.training.config import RunConfig
from headwise.training.evaluation import load
from headwise.training.files import BEST, CHECKPOINTS, LAST, PREVIOUS
from headwise.training.opened import open_run
from headwise.training.schedules import loss_weights
from headwise.training.start import new_model
from headwise.training.state import restore_model

EXAMPLES, BATCHES = 8, 3  # of the passes: enough that each head and each refinement step has something to do
SCORED = 64  # validation examples on which loss and metric are compared
LOOKED_AT, LOOKED_FOR = 4000, 400  # training examples that are read for 400 validation ones: a second or two
SHARED = 0.05  # of the validation examples beyond the share that training has twice itself
PADDING = 1e-6  # of a loss in float64; what padding changes is larger by far

rules = Rules("the model and the data of a run")


@dataclass(frozen=True)
class Trained:
    """A run with its data and models, on the CPU.

    Attributes:
        config: its settings.
        data: read or generated again.
        fresh: the model before training.
        model: after the last update that a checkpoint holds; with its best weights where there is no checkpoint.
        updates: that it has had.
    """

    config: RunConfig
    data: TaskData
    fresh: TaskModel
    model: TaskModel
    updates: int

    @cached_property
    def kept_frozen(self) -> frozenset[str]:
        """Parameters that the schedule has left as they were."""
        training = self.config.training
        if self.updates > round(training.freeze_controller * training.updates):
            return frozenset()
        return frozenset(name for name, _ in parameters_by_role(self.model).get("controller", []))

    @cached_property
    def case(self) -> Case:
        """The model with the objective of the run as its loss."""
        task, train, validation = self.model.task, self.data.split("train"), self.data.split("validation")
        batches = [train.batch(index) for index in train.plan(EXAMPLES, self.config.seed, 0, shuffle=True)[:BATCHES]]
        return Case(
            self.model,
            lambda model, batch: objective_terms(model, batch, self.config),
            batches,
            metric=lambda model, batch: task.metrics(_prediction(model, batch), batch)[task.metric],
            higher_is_better=task.higher_is_better,
            validation=[validation.batch(torch.arange(min(SCORED, len(validation))))],
            frozen=self.kept_frozen,
            as_trained=False,
        )

    def in_float64(self) -> TaskModel:
        """A copy in double precision and evaluation mode."""
        return deepcopy(self.model).double().eval()


def read_trained(directory: Path) -> Trained:
    """The run in a directory, with its data and models.

    Raises:
        InputError: data that are not to be had, weights that do not fit or are not there.
    """
    run = open_run(directory)
    config, data = run.config, run.data
    with repeatable():
        fresh, model = new_model(config, data), build_model(config, data.facts)
        file = next((f for n in (LAST, PREVIOUS, BEST) if (f := directory / CHECKPOINTS / n).is_file()), None)
        if file is None:
            model.load_state_dict(load(directory).state_dict())
            return Trained(config, data, fresh, model, int(run.summary.get("updates", config.training.updates)))
        state = read_checkpoint(file)
        restore_model(model, state, file)
        return Trained(config, data, fresh, model, typed(state, "update", int, file))


def objective_terms(model: nn.Module, batch: Batch, config: RunConfig) -> dict[str, Tensor]:
    """The objective of a run, of all segments of a batch, in its terms: `task`, and each weighted routing loss."""
    assert isinstance(model, TaskModel)
    weights = loss_weights(config.training, config.training.updates)
    traces: list[Any] = []
    handle = model.register_forward_hook(lambda module, inputs, trace: traces.append(trace))
    try:
        loss = torch.stack([out.loss for out in segment_objectives(model, batch, config)]).sum()
    finally:
        handle.remove()
    terms: dict[str, Tensor] = {}
    for trace in traces:
        for name, value in trace.losses.items():
            if weights[name]:
                terms[name] = terms.get(name, 0.0) + weights[name] * value
    return {"task": loss - sum(terms.values()), **terms}


@rules(
    "parameters never moved",
    symptom="the loss is that of a smaller model, or of none",
    diagnosis="after training, weights are still those that the seed gives: no gradient, no rate, or another model's "
    "optimiser",
    remedy="see what the optimiser holds (headwise.optimizer_for), the rates by role and what sets gradients to None",
    command="headwise doctor {target}",
)
def never_moved(trained: Trained) -> Iterator[Seen]:
    still = [name for name in unmoved(trained.fresh, trained.model) if name not in trained.kept_frozen]
    for role, own in parameters_by_role(trained.model).items():
        names = [name for name, p in own if name in still and (p.requires_grad or role != "pretrained")]
        if names and trained.updates:
            evidence = f"{len(names)} of {len(own)} parameters are as they were before {trained.updates} updates"
            yield Seen(f"{role}: {listed(names)}", evidence, "sure")


@rules(
    "backward pass ignores the gates",
    symptom="the gradient norm is ten times the usual, a hard mask seems to break training",
    diagnosis="the gradient with respect to gates or head outputs does not agree with finite differences",
    remedy="look between the router and the output projection for a backward of your own, or a detach",
    command="headwise doctor {target}",
)
def backward_ignores_gates(trained: Trained) -> Iterator[Seen]:
    errors = disagreement(trained.model, trained.case.batches[0], trained.config.seed)
    for what, found in (("gates", errors.gates), ("head outputs", errors.heads)):
        wrong = {layer: error for layer, error in enumerate(found) if not error <= RELATIVE_ERROR}
        if wrong:
            layers = listed([str(layer) for layer in wrong])
            yield Seen(f"{what}, layer {layers}", f"relative error of the gradient {max(wrong.values()):.2g}", "sure")


@rules(
    "padding changes results",
    symptom="results depend on the batch size, or on the order of the examples",
    diagnosis="an example has another loss alone than in a batch with longer ones, or with others at all",
    remedy="mask padding in attention, pooling, losses and metrics; no statistic over the batch",
    command="headwise evaluate {target} training.evaluation_batch_size=1",
)
def padding_changes_results(trained: Trained) -> Iterator[Seen]:
    source = trained.data.split("validation")
    index = torch.arange(min(EXAMPLES, len(source)))
    together, alone = together_and_alone(trained.in_float64(), source, index)
    difference = ((together - alone).abs() / alone.abs().clamp_min(1)).nan_to_num().max().item()
    if difference > PADDING:
        evidence = (
            f"the loss of an example alone and in a batch of {len(index)} differs by {format_percent(difference)}"
        )
        yield Seen("validation", evidence, "sure")


@rules(
    "looks at later inputs",
    symptom="a causal model is too good in training and writes nonsense",
    diagnosis="outputs at a position change when inputs after it do",
    remedy="look at the attention mask, at what is pooled over the sequence, and at shifted targets",
    command="headwise doctor {target}",
)
def later_inputs(trained: Trained) -> Iterator[Seen]:
    if not trained.model.task.causal:
        return
    model, batch = trained.in_float64(), trained.case.batches[0]
    with torch.no_grad(), repeatable():
        x, layout = model.embed(batch)
        run = partial(model.backbone, mask=layout, record=True)
        since = x.shape[1] // 2
        changed = torch.cat([x[:, :since], torch.randn_like(x[:, since:])], 1)
        for what in looks_ahead(run, x, changed, since) if since else ():
            yield Seen("backbone", what, "sure")


@rules(
    "training and validation share examples",
    symptom="validation is as good as training, new data is not",
    diagnosis="validation examples occur in the training split, more often than its own examples occur twice",
    remedy="split before anything is drawn or augmented; take duplicates out first",
    command="headwise doctor {target}",
)
def splits_share_examples(trained: Trained) -> Iterator[Seen]:
    train = _rows(trained.data.split("train"), LOOKED_AT)
    validation = _rows(trained.data.split("validation"), LOOKED_FOR)
    seen = set(train)
    both = sum(row in seen for row in validation) / max(len(validation), 1)
    twice = 1 - len(seen) / max(len(train), 1)
    if both > twice + SHARED:
        evidence = (
            f"{format_percent(both)} of {len(validation)} validation examples are among {len(train)} of training, "
            f"which repeat {format_percent(twice)} of their own"
        )
        yield Seen("validation", evidence, "sure" if both > 0.5 + twice else "likely")


def _rows(source: Source, most: int) -> list[bytes]:
    """Examples, each in a batch of its own, so that none is padded for the sake of another."""
    return [row for i in range(min(most, len(source))) for row in rows_of(source.batch(torch.tensor([i])))]


def _prediction(model: nn.Module, batch: Batch) -> Any:
    assert isinstance(model, TaskModel)
    return model.task.read_out(model(batch).states[-1], batch)
