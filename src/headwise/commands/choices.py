"""`headwise choices`: what a pretrained model loses with fewer heads, by how they are chosen."""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import ClassVar

from rich.console import Console
from rich.text import Text

from headwise.commands.result import Result
from headwise.errors import InputError
from headwise.files import user_path
from headwise.lab.choices.study import Settings, study
from headwise.lab.kept import going_on
from headwise.lab.outputs import refuse_other_work
from headwise.lab.report.choices_table import choices_text
from headwise.lab.report.write import write_report
from headwise.schema import FilePath, argument


@dataclass(frozen=True)
class Options:
    """Say what a pretrained model loses with fewer heads, by how they are chosen; nothing is trained.

    Choices made once, for all tokens, stand beside choices at each token: by chance, by a router fitted in closed form
    to what heads contribute, and by an oracle that knows what they contribute before it is computed. Each keeps as many
    heads of each layer, or as large a share of all heads under one threshold. All are made from calibration texts,
    drawn anew for each seed, and scored against the untouched model on the same held-out blocks. The same command goes
    on where it stopped; seeds and numbers of heads may be added.

    Args:
        model: smollm2, minilm, the folder of a model, or its name on the hub. Of a causal language model the loss of
            the next token counts, of an encoder 1 - cosine to its own embeddings.
        text: held-out text that choices are scored on: a file of text, .jsonl (field text) or .conllu.
        calibrate: the text they are made from.
        other: another text that they are scored on.
        keep: numbers of heads of each layer.
        blocks: of each text, that are scored; of an encoder lines.
        context: tokens of a block; of a line at most so many.
        calibration: blocks, or lines, of the calibration text; every fourth is held out from the fit.
        seeds: draws of the calibration text, and of what is random.
        output: directory of the result; null makes a new one in runs/.
    """

    waits: ClassVar[str] = "opening the model"
    kept: ClassVar[str] = "what was measured is kept"

    keep: tuple[int, ...]
    calibrate: FilePath
    model: FilePath = argument()
    text: FilePath = argument()
    other: FilePath | None = None
    blocks: int = 16
    context: int = 256
    calibration: int = 80
    seeds: int = 3
    output: FilePath | None = None

    def __post_init__(self) -> None:
        for key, least in (("blocks", 2), ("context", 2), ("calibration", 4), ("seeds", 1)):
            if getattr(self, key) < least:
                raise InputError(f"{key}={getattr(self, key)}: choose {least} or more")
        if not self.keep:
            raise InputError("keep=[]: name at least one number of heads, as keep=[8,7,6]")


def run(options: Options) -> Result:
    """Measure what is missing, and write choices.json and the page."""
    label = Path(options.model).name
    output = user_path(options.output or f"runs/choices-{label}-{datetime.now():%Y%m%d-%H%M%S}")
    if output.exists() and not output.is_dir():
        raise InputError(f"output={output}: a file; choose a directory")
    refuse_other_work(output, ("a study of choices of heads",))
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    asked = Settings(
        model=options.model,
        text=options.text,
        calibrate=options.calibrate,
        other=options.other,
        keep=options.keep,
        blocks=options.blocks,
        context=options.context,
        calibration=options.calibration,
        seeds=options.seeds,
    )
    with going_on(output):
        result = study(asked, output, lambda line: console.print(Text(line)))
    where = f"report: {write_report(output)}"
    return Result(result, [*choices_text(result), Text(where)])
