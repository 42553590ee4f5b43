"""headwise: transformers that choose, per token and per refinement step, which attention heads to use.

Build: `RoutedAttention`, `Backbone`, routers, gates, controllers, halting. Prove: `configure`, `train`, `compare`,
`scale`. Your own model and data: `from_torch`, `optimizer_for` and `HeadwiseModule`; a pretrained one: `retrofit`.
Names are imported when they are first used, so that `import headwise` loads nothing heavy; each is documented where it
is defined.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from headwise.errors import InputError as InputError
    from headwise.lab.comparison.compare import compare as compare
    from headwise.lab.doctor.examine import examine as examine
    from headwise.lab.doctor.findings import Finding as Finding
    from headwise.lab.scaling.scale import scale as scale
    from headwise.models import ARMS as ARMS
    from headwise.models.arm import Arm as Arm
    from headwise.models.arm import check as check
    from headwise.models.backbone import Backbone as Backbone
    from headwise.models.conversion import from_torch as from_torch
    from headwise.models.conversion import to_torch as to_torch
    from headwise.models.refusals import TaskFacts as TaskFacts
    from headwise.models.sizes import ModelConfig as ModelConfig
    from headwise.plugins import load as load_plugin  # noqa: F401 - under its public name
    from headwise.pretrained.pruned_files import load_pruned as load_pruned
    from headwise.pretrained.pruned_files import save_pruned as save_pruned
    from headwise.pretrained.removal import prune as prune
    from headwise.pretrained.retrofit import Retrofitted as Retrofitted
    from headwise.pretrained.retrofit import retrofit as retrofit
    from headwise.pretrained.saving import save_retrofitted as save_retrofitted
    from headwise.pretrained.usage import used_heads as used_heads
    from headwise.reasoning import CONTROLLERS as CONTROLLERS
    from headwise.reasoning import HALTING as HALTING
    from headwise.reasoning import INITIAL_STATES as INITIAL_STATES
    from headwise.reasoning import RECURSIONS as RECURSIONS
    from headwise.reasoning.controllers import ClassicalConfig as ClassicalConfig
    from headwise.reasoning.controllers import Controller as Controller
    from headwise.reasoning.controllers import ControllerConfig as ControllerConfig
    from headwise.reasoning.controllers import HRMActConfig as HRMActConfig
    from headwise.reasoning.controllers import HRMConfig as HRMConfig
    from headwise.reasoning.controllers import NoController as NoController
    from headwise.reasoning.halting import CorrectHalting as CorrectHalting
    from headwise.reasoning.halting import EntropyHalting as EntropyHalting
    from headwise.reasoning.halting import FixedHalting as FixedHalting
    from headwise.reasoning.halting import Halting as Halting
    from headwise.reasoning.halting import HaltingConfig as HaltingConfig
    from headwise.reasoning.halting import Judge as Judge
    from headwise.reasoning.halting import PonderHalting as PonderHalting
    from headwise.reasoning.initial_states import FixedState as FixedState
    from headwise.reasoning.initial_states import InitialState as InitialState
    from headwise.reasoning.initial_states import InitialStateConfig as InitialStateConfig
    from headwise.reasoning.initial_states import RandomState as RandomState
    from headwise.reasoning.recursion import Recursion as Recursion
    from headwise.reasoning.recursion import SingleStream as SingleStream
    from headwise.reasoning.recursion import TwoStreams as TwoStreams
    from headwise.reasoning.refinement import RefinementConfig as RefinementConfig
    from headwise.reasoning.state import ControllerState as ControllerState
    from headwise.reasoning.trace import Trace as Trace
    from headwise.routing import GATES as GATES
    from headwise.routing import ROUTERS as ROUTERS
    from headwise.routing.attention import LayerMemory as LayerMemory
    from headwise.routing.attention import RoutedAttention as RoutedAttention
    from headwise.routing.balance import BalanceConfig as BalanceConfig
    from headwise.routing.balance import steer as steer
    from headwise.routing.diagnostics import gate_statistics as gate_statistics
    from headwise.routing.fixed_routers import RandomRouter as RandomRouter
    from headwise.routing.fixed_routers import StaticRouter as StaticRouter
    from headwise.routing.gates import GateFunction as GateFunction
    from headwise.routing.gates import Gates as Gates
    from headwise.routing.gates import Gumbel as Gumbel
    from headwise.routing.gates import Sigmoid as Sigmoid
    from headwise.routing.gates import Soft as Soft
    from headwise.routing.gates import TopK as TopK
    from headwise.routing.layout import Layout as Layout
    from headwise.routing.mixtures import Adaptive as Adaptive
    from headwise.routing.mixtures import ReLU as ReLU
    from headwise.routing.mixtures import SharedRouted as SharedRouted
    from headwise.routing.mixtures import TopP as TopP
    from headwise.routing.routers import LearnedRouter as LearnedRouter
    from headwise.routing.routers import NoRouter as NoRouter
    from headwise.routing.routers import Router as Router
    from headwise.routing.routers import RouterConfig as RouterConfig
    from headwise.routing.routers import Scored as Scored
    from headwise.routing.unit_gates import Unit as Unit
    from headwise.tasks import TASKS as TASKS
    from headwise.tasks.base import Batch as Batch
    from headwise.tasks.base import Shift as Shift
    from headwise.tasks.base import Source as Source
    from headwise.tasks.base import Task as Task
    from headwise.tasks.base import TaskData as TaskData
    from headwise.tasks.base import TaskEntry as TaskEntry
    from headwise.tasks.base import TaskModel as TaskModel
    from headwise.training.config import RunConfig as RunConfig
    from headwise.training.config import TrainingConfig as TrainingConfig
    from headwise.training.configuration import load as configure  # noqa: F401 - under its public name
    from headwise.training.configuration import load_arms as load_arms
    from headwise.training.evaluation import evaluate as evaluate
    from headwise.training.evaluation import load as load
    from headwise.training.hub import pull as pull
    from headwise.training.hub import push as push
    from headwise.training.module import HeadwiseModule as HeadwiseModule
    from headwise.training.opened import OpenRun as OpenRun
    from headwise.training.opened import open_run as open_run
    from headwise.training.optim import optimizer_for as optimizer_for
    from headwise.training.retrofits import load_retrofitted as load_retrofitted
    from headwise.training.run import train as train

    __version__: str

# Where each public name is defined. The imports above say the same to type checkers; a test compares the two.
_DEFINED = {
    "headwise.errors": "InputError",
    "headwise.routing.attention": "LayerMemory RoutedAttention",
    "headwise.routing.balance": "BalanceConfig steer",
    "headwise.routing.diagnostics": "gate_statistics",
    "headwise.reasoning": "CONTROLLERS HALTING INITIAL_STATES RECURSIONS",
    "headwise.reasoning.state": "ControllerState",
    "headwise.routing": "GATES ROUTERS",
    "headwise.routing.unit_gates": "Unit",
    "headwise.tasks": "TASKS",
    "headwise.tasks.base": "Batch Shift Source Task TaskData TaskEntry TaskModel",
    "headwise.routing.gates": "GateFunction Gates Gumbel Sigmoid Soft TopK",
    "headwise.routing.layout": "Layout",
    "headwise.routing.mixtures": "Adaptive ReLU SharedRouted TopP",
    "headwise.routing.fixed_routers": "RandomRouter StaticRouter",
    "headwise.routing.routers": "LearnedRouter NoRouter Router RouterConfig Scored",
    "headwise.reasoning.controllers": "ClassicalConfig Controller ControllerConfig HRMActConfig HRMConfig NoController",
    "headwise.reasoning.halting": "CorrectHalting EntropyHalting FixedHalting Halting HaltingConfig Judge "
    "PonderHalting",
    "headwise.reasoning.initial_states": "FixedState InitialState InitialStateConfig RandomState",
    "headwise.reasoning.recursion": "Recursion SingleStream TwoStreams",
    "headwise.reasoning.refinement": "RefinementConfig",
    "headwise.reasoning.trace": "Trace",
    "headwise.models": "ARMS",
    "headwise.models.arm": "Arm check",
    "headwise.models.backbone": "Backbone",
    "headwise.models.conversion": "from_torch to_torch",
    "headwise.models.refusals": "TaskFacts",
    "headwise.models.sizes": "ModelConfig",
    "headwise.pretrained.pruned_files": "load_pruned save_pruned",
    "headwise.pretrained.removal": "prune",
    "headwise.pretrained.retrofit": "Retrofitted retrofit",
    "headwise.pretrained.saving": "save_retrofitted",
    "headwise.pretrained.usage": "used_heads",
    "headwise.training.config": "RunConfig TrainingConfig",
    "headwise.training.configuration": "load_arms",
    "headwise.training.hub": "pull push",
    "headwise.training.module": "HeadwiseModule",
    "headwise.training.retrofits": "load_retrofitted",
    "headwise.training.optim": "optimizer_for",
    "headwise.training.evaluation": "evaluate load",
    "headwise.training.opened": "OpenRun open_run",
    "headwise.training.run": "train",
    "headwise.lab.comparison.compare": "compare",
    "headwise.lab.doctor.examine": "examine",
    "headwise.lab.doctor.findings": "Finding",
    "headwise.lab.scaling.scale": "scale",
}
_HOMES = {name: (module, name) for module, names in _DEFINED.items() for name in names.split()}
_HOMES["configure"] = ("headwise.training.configuration", "load")
_HOMES["load_plugin"] = ("headwise.plugins", "load")

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib import metadata

        return metadata.version("headwise")
    if name not in _HOMES:
        raise AttributeError(f"module 'headwise' has no attribute '{name}'")
    module, attribute = _HOMES[name]
    return getattr(importlib.import_module(module), attribute)


def __dir__() -> list[str]:
    return [*globals(), *__all__]
