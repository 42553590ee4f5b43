"""Launchers by name: where the runs of a comparison are trained, each a choice with settings of its own."""

from headwise.lab.comparison.clusters import Dask, Ray, Slurm
from headwise.lab.comparison.launching import Local

LOCAL = Local()
LAUNCHERS: dict[str, type] = {"local": Local, "ray": Ray, "dask": Dask, "slurm": Slurm}
