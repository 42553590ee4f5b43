"""`headwise heads`: how much each head of a pretrained model matters."""

import time
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, ClassVar, Literal

from rich.console import Console
from rich.text import Text

from headwise.commands.result import Result
from headwise.errors import InputError
from headwise.files import make_folder, user_path, write_json
from headwise.lab.kept import KEPT, going_on, kept
from headwise.lab.outputs import HEADS, refuse_other_work
from headwise.lab.report.heads_table import heads_text
from headwise.lab.report.write import write_report
from headwise.provenance import source_code
from headwise.schema import FilePath, argument

BLOCKS, LINES = 8, 64
"""Examples where nothing is said of them: blocks for a language model, lines for an encoder."""


@dataclass(frozen=True)
class Options:
    """Say how much each head of a pretrained model matters, and each key/value group.

    By the length of what it adds to its layer's output (contribution) and by the derivatives of its gate, all from one
    pass forward and back an example; with ablate= by leaving heads out in turn, which is the truth that the measures
    guess at, and then how well each guesses (rank correlation). For a causal language model the loss of the next token
    counts, for an encoder how far its embeddings move. The result is the content of heads.json; the page, report.html,
    with a map of all heads is written beside it (docs/pretrained_heads.md). Heads that were left out are kept: the same
    command with the same output goes on, also with a larger ablate=.

    Args:
        model: smollm2, minilm, the folder of a model, or its name on the hub.
        text: a file of text, .jsonl (field text) or .conllu.
        blocks: examples, from the start of the text: blocks of a language model, lines of an encoder; null is 8 blocks,
            64 lines.
        context: tokens of a block; of a line at most so many.
        ablate: heads, and key/value groups, that are drawn and left out in turn, each a pass over all examples, or all;
            null leaves none out.
        seed: of what is drawn.
        output: directory of the result; null makes a new one in runs/.
    """

    waits: ClassVar[str] = "opening the model"
    kept: ClassVar[str] = "heads that were left out are kept"

    model: FilePath = argument()
    text: FilePath = argument()
    blocks: int | None = None
    context: int = 256
    ablate: int | Literal["all"] | None = None
    seed: int = 0
    output: FilePath | None = None

    def __post_init__(self) -> None:
        for key, least in (("blocks", 1), ("context", 2), ("ablate", 1), ("seed", 0)):
            value = getattr(self, key)
            if isinstance(value, int) and value < least:
                raise InputError(f"{key}={value}: choose {least} or more")


def run(options: Options) -> Result:
    """Measure, and write heads.json and the page."""
    began = time.perf_counter()
    label = Path(options.model).name
    output = user_path(options.output or f"runs/heads-{label}-{datetime.now():%Y%m%d-%H%M%S}")
    if output.exists() and not output.is_dir():
        raise InputError(f"output={output}: a file; choose a directory")
    refuse_other_work(output, ("a measurement of heads",))
    with going_on(output):
        measured = _measured(options, output)
    make_folder(output)
    result: dict[str, Any] = {
        **measured,
        "directory": str(output),
        "seconds": time.perf_counter() - began,
        "headwise": source_code(),
    }
    write_json(output / HEADS, result)
    write_report(output)
    return Result(result, heads_text(result))


def _measured(options: Options, output: Path) -> dict[str, Any]:
    """What is measured, as plain JSON; each ablation is kept in the output once it is made."""
    import torch

    from headwise.pretrained.encoders import lines, open_any
    from headwise.pretrained.importance import importance
    from headwise.pretrained.objectives import NextToken, Objective, OwnEmbedding
    from headwise.pretrained.opening import blocks, read_texts

    texts = read_texts(options.text)
    model, tokenizer, causal = open_any(options.model)
    settings = {key: getattr(options, key) for key in ("model", "blocks", "context", "seed")}
    before = kept(output, settings, {"text": options.text}, model, {"ablations": {}})
    longest = min(_limit(model.config), int(tokenizer.model_max_length))
    if options.context > longest:
        raise InputError(f"context={options.context}: {options.model} reads at most {longest} tokens; choose fewer")
    if causal:
        examples = list(torch.split(blocks(texts, tokenizer, options.context, options.blocks or BLOCKS), 1))
    else:
        examples = lines(texts, tokenizer, options.context, options.blocks or LINES)
    largest, known = max(int(tokens.max()) for tokens in examples), model.get_input_embeddings().num_embeddings
    if largest >= known:
        raise InputError(
            f"model={options.model}: its tokenizer has token {largest}, the model knows {known}; not a pair"
        )
    objective: Objective = NextToken()
    if not causal:
        objective = OwnEmbedding(seed=options.seed)
    console = Console(stderr=True, highlight=False, soft_wrap=True)

    def progress(line: str) -> None:
        if before["ablations"]:
            make_folder(output)
            write_json(output / KEPT, before)
        console.print(Text(line))

    try:
        found = importance(
            model,
            examples,
            objective,
            options.ablate,
            options.seed,
            progress,
            before["ablations"],
        )
    except InputError as error:
        raise InputError(
            str(error) if str(error).startswith("ablate") else f"model={options.model}: {error}"
        ) from error
    return {
        "model": options.model,
        "architecture": type(model).__name__,
        "kind": "causal" if causal else "encoder",
        "parameters": sum(p.numel() for p in model.parameters()),
        "text": options.text,
        "examples": len(examples),
        "tokens": sum(tokens.numel() for tokens in examples),
        "context": options.context,
        "ablate": options.ablate,
        "seed": options.seed,
        "unit": objective.unit,
        "value": found.value,
        "sites": list(found.sites),
        "heads": found.heads.to_plain(),
        "groups": found.groups and found.groups.to_plain(),
    }


def _limit(config: Any) -> int:
    """Positions that a model knows; many where it does not say."""
    found = getattr(config, "max_position_embeddings", None)
    return found if isinstance(found, int) and found > 0 else 2**31
