"""Speed and memory, as ratios of two things timed alternately in one run: the machine's mood cancels out.

Training throughput is a whole update: forward, backward and a fused AdamW step. Legend: B batch, L length, D width,
R refinement steps.
"""

import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from headwise.errors import InputError
from headwise.lab.bench.memory import training_bytes
from headwise.lab.bench.plain_loop import PlainLoop
from headwise.lab.bench.plain_recursion import PlainRecursion
from headwise.lab.bench.timing import ROUNDS, alternate, cut_down
from headwise.models.arm import Arm
from headwise.models.backbone import Backbone
from headwise.models.compilation import compile_backbone
from headwise.models.sizes import ModelConfig
from headwise.reasoning.controllers import HRMConfig
from headwise.reasoning.halting import PonderHalting
from headwise.reasoning.initial_states import FixedState
from headwise.reasoning.recursion import TwoStreams
from headwise.reasoning.refinement import RefinementConfig
from headwise.routing.fixed_routers import StaticRouter
from headwise.routing.gates import Sigmoid, TopK
from headwise.routing.layout import Layout
from headwise.routing.routers import LearnedRouter

BATCH, LENGTH = 64, 20
SHAPE = ModelConfig(width=128, heads=8, ffn=512)
NARROW = replace(SHAPE, ffn=256)


@dataclass(frozen=True)
class Result:
    """One measurement.

    Attributes:
        name: as in `BENCHMARKS`.
        value: what was measured, in `unit`.
        reference: the same of what it is compared with.
        ratio: ours over the reference; for throughput above 1 is better, for memory and overhead below 1 is.
    """

    name: str
    value: float
    unit: str
    reference: float
    ratio: float


def hrm(steps: int, **loop: object) -> Arm:
    """The arm `hrm`; its period is 4 where the slow module then runs at least twice, else 2."""
    return Arm(
        router=LearnedRouter("sequence"),
        controller=HRMConfig(period=4 if steps > 4 else 2),
        refinement=RefinementConfig(**{"steps": steps, **loop}),  # type: ignore[arg-type]
    )


def baseline() -> list[Result]:
    return [_throughput("train/baseline", Backbone(SHAPE, Arm()), PlainLoop(SHAPE, 1))]


def controller() -> list[Result]:
    """R steps of `hrm` against R plain layers."""
    results = []
    for shape, suffix in ((SHAPE, ""), (NARROW, "_ffn2d")):
        for steps in (4, 12):
            ours, plain = Backbone(shape, hrm(steps)), PlainLoop(shape, steps)
            results.append(_throughput(f"train/hrm_r{steps}{suffix}", ours, plain))
            results.append(_memory(f"memory/hrm_r{steps}{suffix}", ours, plain))
    return results


def controller_over_loop() -> list[Result]:
    """An update of `hrm` over one of `looped`, the same blocks and steps without router and controller: time of the
    processor on one thread, batches of 32, where a small model shows the cost most."""
    return [_over_loop(width, steps) for width in (64, 128) for steps in (4, 12)]


def controller_over_loop_compiled() -> list[Result]:
    """As `controller_over_loop`, both compiled, a minute or two each; so only when named."""
    return [_over_loop(width, 4, compiled=True) for width in (64, 128)]


def gates() -> list[Result]:
    """An update of a causal model with gates of some kind over one without: time of the processor on one thread, at
    nanoGPT's setting for a CPU (4 layers, 4 heads, width 128, 12 sequences of 64 tokens). Half a minute, so only when
    named."""
    half = Arm(StaticRouter(k=2))
    arms = {
        "gated": Arm(LearnedRouter(), Sigmoid()),
        "gated_12": Arm(LearnedRouter(reads=12), Sigmoid()),
        "top_2_of_4_from_12": Arm(LearnedRouter(reads=12), TopK(2)),
        "gated_elementwise": Arm(output_gate="elementwise"),
        "composed": Arm(composition_rank=2),
        "static_2_of_4": half,
        "static_2_of_4_elementwise": replace(half, output_gate="elementwise"),
        "static_2_of_4_composed": replace(half, composition_rank=2),
    }
    shape, plain = ModelConfig(width=128, heads=4, ffn=512, depth=4), Arm()
    return [
        _on_one_thread(f"train/{name}_over_baseline", [Backbone(shape, each, True) for each in (arm, plain)], 64, 12)
        for name, arm in arms.items()
    ]


def forward() -> list[Result]:
    """Evaluation of `hrm` with 12 steps, beside one call of its controller."""
    model, x = Backbone(SHAPE, hrm(12)).eval(), torch.randn(BATCH, LENGTH, SHAPE.width)
    controller: Any = model.refiner.controller
    calls = [torch.no_grad()(lambda: model(x)), torch.no_grad()(lambda: controller(x, None, None, None))]
    whole, alone = map(statistics.median, alternate(calls))
    return [Result("forward/hrm_r12", BATCH / whole, "examples/s", BATCH / alone, alone / whole)]


def gradient_last() -> list[Result]:
    """Memory of R = 16 over that of R = 4; the period is 2 in both."""

    def arm(steps: int) -> Arm:
        loop = RefinementConfig(steps=steps, gradient="last", injection="input")
        return Arm(router=LearnedRouter("sequence"), controller=HRMConfig(period=2), refinement=loop)

    return [_memory("memory/last_r4_to_r16", Backbone(SHAPE, arm(16)), Backbone(SHAPE, arm(4)))]


def reuse() -> list[Result]:
    """Time of a further step with fresh heads over that with reused heads, from the difference of 12 and 4 steps."""
    results = []
    for shape, suffix in ((SHAPE, ""), (NARROW, "_ffn2d")):
        fresh, again = (
            {r: _update(Backbone(shape, hrm(r, reuse=kind))) for r in (4, 12)} for kind in ("none", "heads")
        )
        times = alternate([fresh[12], fresh[4], again[12], again[4]])
        slow = statistics.median((a - b) / 8 for a, b in zip(times[0], times[1], strict=True))
        fast = statistics.median((a - b) / 8 for a, b in zip(times[2], times[3], strict=True))
        results.append(Result(f"reuse/heads_per_step{suffix}", 1 / fast, "steps/s", 1 / slow, slow / fast))
    return results


def compaction() -> list[Result]:
    """Evaluation with halted examples leaving the batch, over running all R steps; mean steps at most R/2."""
    steps, batch = 12, 512
    torch.manual_seed(0)
    arm = replace(hrm(steps), halting=PonderHalting(bias=-1.6))
    ours = Backbone(SHAPE, arm).eval()
    full = Backbone(SHAPE, hrm(steps)).eval()
    full.load_state_dict({k: v for k, v in ours.state_dict().items() if ".halting." not in k})
    x = torch.randn(batch, LENGTH, SHAPE.width)
    with torch.no_grad():
        taken = ours(x).steps
        if taken.mean() > steps / 2:
            raise RuntimeError(f"mean steps {taken.mean():.1f} exceed R/2; this benchmark would not say anything")
        _same_as_plain(ours, full, x)

        def run(model: Backbone) -> Callable[[], None]:
            return lambda: torch.no_grad()(model)(x) and None

        times = alternate([run(ours), run(full)], calls=2)
    fast, slow = map(statistics.median, times)
    ratio = statistics.median(b / a for a, b in zip(*times, strict=True))
    return [Result("compaction/throughput", batch / fast, "examples/s", batch / slow, ratio)]


def layout() -> list[Result]:
    """An update with half of the heads structural, with a bias by position, and with both, over one with neither; on
    the cells of a grid, each a neighbour of the four next to it."""
    results = []
    for side in (8, 12):
        cells = torch.cartesian_prod(torch.arange(side), torch.arange(side))
        near = (cells[:, None] - cells).abs().sum(-1) <= 1
        known = Layout(relations={"next": near.expand(BATCH, -1, -1)}, positions=cells)
        half, plain = NARROW.heads // 2, Backbone(NARROW, Arm())
        for name, heads, radius in (("structural", half, 0), ("relative", 0, side - 1), ("both", half, side - 1)):
            ours = Backbone(replace(NARROW, structural_heads=heads, relative=radius), Arm())
            times = alternate([_update(model, side**2, known) for model in (ours, plain)], calls=1)
            fast, slow = map(statistics.median, times)
            ratio = statistics.median(b / a for a, b in zip(*times, strict=True))
            results.append(Result(f"layout/{name}_{side}x{side}", BATCH / fast, "examples/s", BATCH / slow, ratio))
    return results


def framework() -> list[Result]:
    """Time of an update in the training loop over bare forward pass, backward pass and optimiser, on one thread."""
    from headwise.training.overhead import step_times

    ours, bare = step_times()
    return [Result("framework/update", 1e3 * ours, "ms", 1e3 * bare, ours / bare)]


def start() -> list[Result]:
    """Processor time of `headwise train quick=true` up to its first update over that of `import torch`."""
    from headwise.lab.bench.start import seconds_to_first_update

    ours, torch_alone = seconds_to_first_update()
    return [Result("start/first_update", ours, "s", torch_alone, ours / torch_alone)]


def processes() -> list[Result]:
    """Updates per second of two processes over those of one, one thread each, on the same batches."""
    from headwise.lab.bench.processes import updates_per_second

    one, two = updates_per_second(1), updates_per_second(2)
    return [Result("processes/two_over_one", two, "updates/s", one, two / one)]


def mazes() -> list[Result]:
    """Mazes generated in a second of one core, over the rates that were asked for or that maze-dataset reaches."""
    from headwise.tasks.maze.bench import RATES
    from headwise.tasks.maze.bench import bench as generated

    return [
        Result(f"mazes/{name}", rate, "mazes/s", RATES[name][-1], rate / RATES[name][-1])
        for name, rate in generated().items()
    ]


def decoding() -> list[Result]:
    """Seconds for 1000 mazes of 12 x 12, from wall bits to metrics, over what they may take."""
    from headwise.lab.bench.decoding import ALLOWED, measure

    return [
        Result(f"decoding/{name}", seconds, "s", ALLOWED[name], seconds / ALLOWED[name])
        for name, seconds in measure().items()
    ]


def heads() -> list[Result]:
    """Attention with a part of its heads on, over dense attention on one thread; minutes, so only when named."""
    from headwise.lab.bench.heads import measure

    return [Result(one.cell.name, one.ours, "ms", one.dense, one.ratio) for one in measure()]


def pretrained() -> list[Result]:
    """A retrofitted Llama of 135 million parameters whose tokens use a part of their heads, over the plain one, on one
    thread; minutes, so only when named."""
    from headwise.lab.bench.pretrained import measure

    return [Result(f"pretrained/{one.name}", one.ours, one.unit, one.plain, one.ratio) for one in measure()]


def recursion() -> list[Result]:
    """An update of TRM in its published block at D = 128, on the 81 cells of a sudoku, over the same in plain torch:
    time of the processor on one thread; half a minute, so only when named."""
    block = {"norm": "rms_unscaled", "norm_placement": "post", "activation": "swiglu", "bias": False, "rotary": True}
    shape = ModelConfig(width=128, heads=4, ffn=384, depth=2, **block)  # type: ignore[arg-type]
    loop = RefinementConfig(21, "last", recursion=TwoStreams(7), initial_state=FixedState())
    ours, plain = Backbone(shape, Arm(refinement=loop)), PlainRecursion(shape, n=6, T=3)
    return [_on_one_thread("train/trm_over_plain", [ours, plain], 81, 16, rounds=3 * ROUNDS)]


def coverage() -> list[Result]:
    """Shares of simulated comparisons, over what the statistics promise; a minute, and nothing is timed."""
    from headwise.lab.bench.coverage import rows

    return [Result(name, share, "%", promised, share / promised) for name, share, promised in rows()]


BENCHMARKS: dict[str, Callable[[], list[Result]]] = {
    "baseline": baseline,
    "controller": controller,
    "controller_over_loop": controller_over_loop,
    "controller_over_loop_compiled": controller_over_loop_compiled,
    "gates": gates,
    "forward": forward,
    "gradient_last": gradient_last,
    "reuse": reuse,
    "compaction": compaction,
    "layout": layout,
    "framework": framework,
    "processes": processes,
    "start": start,
    "mazes": mazes,
    "decoding": decoding,
    "heads": heads,
    "pretrained": pretrained,
    "recursion": recursion,
    "coverage": coverage,
}
ONLY_NAMED = {
    "controller_over_loop_compiled",
    "coverage",
    "decoding",
    "gates",
    "heads",
    "layout",
    "mazes",
    "pretrained",
    "recursion",
}


def run(names: Iterable[str] = (), threads: int = 2, quick: bool = False) -> list[dict[str, object]]:
    """Run benchmarks by name (default: all but those that take minutes, `ONLY_NAMED`).

    Args:
        names: of benchmarks.
        threads: of torch.
        quick: one round of each, to see that it works; the ratios are then no figures.

    Returns:
        {name, value, unit, reference, ratio} each.

    Raises:
        InputError: an unknown name.
    """
    chosen = list(names) or [name for name in BENCHMARKS if name not in ONLY_NAMED]
    for name in chosen:
        if name not in BENCHMARKS:
            raise InputError(f"bench {name}: unknown; choose from {', '.join(BENCHMARKS)}")
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with cut_down(quick):
            return [asdict(result) for name in chosen for result in BENCHMARKS[name]()]
    finally:
        torch.set_num_threads(before)


def _over_loop(width: int, steps: int, compiled: bool = False) -> Result:
    shape = replace(SHAPE, width=width, ffn=4 * width)
    models = [Backbone(shape, arm) for arm in (hrm(steps), Arm(refinement=RefinementConfig(steps=steps)))]
    if compiled:
        for model in models:
            compile_backbone(model)
    name = f"train/hrm_over_looped_d{width}_r{steps}{'_compiled' if compiled else ''}"
    return _on_one_thread(name, models, LENGTH, 32)


def _on_one_thread(name: str, models: Sequence[nn.Module], length: int, batch: int, rounds: int = 6 * ROUNDS) -> Result:
    """An update of the first model over one of the second."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        updates = [_update(model, length, batch=batch) for model in models]
        times = alternate(updates, calls=1, rounds=rounds, clock=time.thread_time)
    finally:
        torch.set_num_threads(threads)
    ours, plain = map(statistics.median, times)
    ratio = statistics.median(a / b for a, b in zip(*times, strict=True))
    return Result(name, 1e3 * ours, "ms/update", 1e3 * plain, ratio)


def _update(model: nn.Module, length: int = LENGTH, *layout: Layout, batch: int = BATCH) -> Callable[[], None]:
    optimiser = torch.optim.AdamW(model.parameters(), fused=True)
    width = model.model.width if isinstance(model, Backbone) else SHAPE.width
    x = torch.randn(batch, length, width, generator=torch.Generator().manual_seed(0))

    def update() -> None:
        optimiser.zero_grad()
        out = model(x, *layout)
        out = out if isinstance(out, Tensor) else out.states[-1]
        out.square().mean().backward()
        optimiser.step()

    return update


def _throughput(name: str, ours: nn.Module, reference: nn.Module) -> Result:
    times = alternate([_update(ours), _update(reference)])
    fast, slow = map(statistics.median, times)
    ratio = statistics.median(b / a for a, b in zip(*times, strict=True))
    return Result(name, BATCH / fast, "examples/s", BATCH / slow, ratio)


def _memory(name: str, ours: nn.Module, reference: nn.Module) -> Result:
    mine, theirs = (training_bytes(model, torch.randn(BATCH, LENGTH, SHAPE.width)) for model in (ours, reference))
    return Result(name, mine / 2**20, "MiB", theirs / 2**20, mine / theirs)


def _same_as_plain(compacted: Backbone, full: Backbone, x: Tensor) -> None:
    """Raise where an example's output differs from running it, uncompacted, for as many steps as it took."""
    trace = compacted(x)
    for steps in trace.steps.unique().int().tolist():
        full.refiner.config = replace(full.refiner.config, steps=steps)
        rows = trace.steps == steps
        torch.testing.assert_close(trace.states[0, rows], full(x).states[0, rows], rtol=1e-4, atol=1e-4)
    full.refiner.config = replace(full.refiner.config, steps=compacted.arm.refinement.steps)
