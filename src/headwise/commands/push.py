"""`headwise push`: a finished run, shared with others."""

from dataclasses import dataclass

from headwise.commands.result import Result
from headwise.schema import FilePath, argument
from headwise.training.hub import push


@dataclass(frozen=True)
class Options:
    """Share a finished run on the Hugging Face Hub or in a folder.

    What is shared is config.json, model.safetensors and README.md, a model card with the figures of its summary, its
    command and its licence. A repository is made unless it is there; who writes to the Hub logs in first (hf auth
    login, or HF_TOKEN). Needs headwise[hub], but for a folder.

    Args:
        run: the run's directory, or the name of a model (headwise list weights).
        target: owner/name on the Hub; ./folder, which must be new; https://server/owner/name on another server, which
            is sent the token of the Hub.
        licence: of the weights, such as Apache-2.0; must be given for a run that has no card yet.
        about_data: what it was trained on and under which licence, for the card.
        private: make a new repository one that others do not see.
    """

    run: FilePath = argument()
    target: str = argument()
    licence: str | None = None
    about_data: str | None = None
    private: bool = False


def run(options: Options) -> Result:
    """Share the run, and say where it is."""
    where = push(options.run, options.target, licence=options.licence, data=options.about_data, private=options.private)
    return Result({"shared": where}, [f"shared: {where}"])
