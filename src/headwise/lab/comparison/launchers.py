"""Launchers by name: where the runs of a comparison are trained, each a choice with settings of its own."""

from headwise.lab.comparison.clusters import Dask, Ray
from headwise.lab.comparison.launching import Local
from headwise.lab.comparison.slurm import Slurm

LOCAL = Local()
LAUNCHERS: dict[str, type] = {"local": Local, "ray": Ray, "dask": Dask, "slurm": Slurm}
