"""What `bad_inputs` damages: words of commands small enough to run in an instant, and what those commands make."""

import json
from pathlib import Path

from tests.drivers.endings import run

SHAPE = ["model.width=8", "model.heads=2", "model.ffn=8", "model.depth=1", "training.loggers=[]", "device=cpu"]
FAST = [*SHAPE, "training.updates=6", "training.validate_every=3", "training.batch_size=4", "training.log_every=2"]
SORTING = [
    "task=sorting",
    "task.length=5",
    "task.train_examples=12",
    "task.validation_examples=6",
    "task.test_examples=6",
]
SORTING += ["task.reference_examples=4", *FAST]
LANGUAGE = ["task=language", "task.corpus=corpus.txt", "task.context=8", *FAST]
PARSING = ["task=parsing", "task.treebank=bank", *FAST]
MAZE = [
    "task=maze",
    "task.size=4",
    "task.file=mazes.npz",
    "task.validation_mazes=6",
    "task.test_mazes=6",
    "task.train_mazes=12",
    *FAST,
]
SUDOKU = [
    "task=sudoku",
    "task.size=6",
    "task.file=puzzles.csv",
    "task.validation_puzzles=6",
    "task.test_puzzles=6",
    "task.train_puzzles=12",
    "model.structural_heads=0",
    *FAST,
]
WALK = [
    "task=walk",
    "task.graph=graph.tsv",
    "task.test_graph=later.tsv",
    "task.relations=2",
    "task.hops=2",
    "task.held_out=0",
    "task.train_examples=12",
    "task.validation_examples=6",
    "task.test_examples=6",
    "model.structural_heads=2",
    *FAST,
]
COMPARE = ["compare", "arms=[baseline,random]", "seeds=2", "jobs=1", "output=comparison", *SORTING]
LADDER = ["ladder", "arms=[baseline]", "output=ladder", *SORTING]
SCALE = ["scale", "arms=[baseline,random]", "sizes=[tiny]", "seeds=1", "jobs=1", "output=scaling"]
SCALE += [word for word in SORTING if not word.startswith("model.")]
CONTROL = ["control", "arms=[looped,gated]", "widths=[0]", "seeds=2", "jobs=1", "output=control", *SORTING]
OOD = ["ood", "comparison", "axes={length: [6], heads: [1], noise: [1]}", "output=ood"]
SWEEP = ["sweep", "training.warmup=0,0.1", "seeds=2", "confirm=1", "jobs=1", "output=sweep", *SORTING]


class Material:
    """What is damaged: made once, whole, by the commands themselves, each part when it is first asked for."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "corpus.txt").write_text("a rose is a rose is a rose; so is a nose\n" * 30)
        (folder / "records.jsonl").write_text(
            "".join(json.dumps({"prompt": f"q {n}", "response": f"a {n % 7}"}) + "\n" for n in range(40))
        )
        words = (("the", "DET", 2, "det"), ("cat{n}", "NOUN", 3, "nsubj"), ("sees", "VERB", 0, "root"))
        lines = (f"{k}\t{w}\t_\t{tag}\t_\t_\t{head}\t{name}\t_\t_\n" for k, (w, tag, head, name) in enumerate(words, 1))
        sentence = "".join(lines) + "\n"
        (folder / "bank").mkdir()
        for split, first in (("train", 0), ("dev", 20), ("test", 30)):
            sentences = (sentence.replace("{n}", str(n)) for n in range(first, first + 10))
            (folder / "bank" / f"xx-ud-{split}.conllu").write_text("".join(sentences))
        (folder / "arm.yaml").write_text(
            "router: {name: learned}\ngate: {name: soft}\nrefinement: {steps: 2, injection: input}\n"
        )

    def of(self, name: str) -> Path:
        """The folder `name` of the material."""
        path = self.folder / name
        if not path.exists():
            made = {
                "run": ["train", "arm=linear", *SORTING, "output=made"],
                "stopped": ["train", "arm=linear", *SORTING, "output=made"],
                "language": ["train", *LANGUAGE, "output=made"],
                "parsing": ["train", *PARSING, "output=made"],
                "mazes.npz": ["data", "mazes", "size=4", "number=40", "output=mazes.npz"],
                "puzzles.csv": ["data", "sudoku", "size=6", "number=40", "output=puzzles.csv"],
                "puzzles.npz": ["data", "sudoku", "size=6", "number=40", "output=puzzles.npz"],
                "comparison": COMPARE,
                "ladder": LADDER,
                "scaling": SCALE,
                "control": CONTROL,
                "ood": OOD,
                "sweep": SWEEP,
            }
            if name == "ood":
                self.of("comparison")
            outcome = run(made[name], self.folder)
            if outcome.code:
                raise RuntimeError(f"{name}: {outcome.said}")
            if (self.folder / "made").exists():
                next((self.folder / "made").iterdir()).rename(path)
                (self.folder / "made").rmdir()
            if name == "stopped":
                for file in ("summary.json", "model.json", "model.safetensors", "test_values.npy"):
                    (path / file).unlink()
        return path
