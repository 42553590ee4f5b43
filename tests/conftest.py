"""What every test shares: one thread per worker, fixed seeds, the folder of data sets, and a browser."""

import gc
import os
import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

# Before torch is imported: two workers on two cores are slower, not faster, with two threads each.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("GOMP_SPINCOUNT", "1000")  # as headwise has it: see headwise.cli
os.environ.setdefault("MPLBACKEND", "Agg")

import numpy as np
import pytest
import torch

torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))

CHROMIUM = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
PATIENCE = 180
"""Seconds that a browser may take for anything: it starts in one, and on a busy machine in twenty."""
ARGUMENTS = [
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"),
    "--disable-sync",
]


def pytest_collection_finish() -> None:
    """Modules and tests are there to stay: they need not be looked through for garbage ten times a minute."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def _same_random_numbers_whatever_ran_before() -> None:
    random.seed(0)
    np.random.seed(0)
    # Of the CPU alone: for each device that is not there, `torch.manual_seed` writes down its whole stack
    torch.default_generator.manual_seed(0)


@pytest.fixture(autouse=True)
def _no_setting_of_the_caller(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HEADWISE_QUICK", raising=False)


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """The folder of data sets that HEADWISE_DATA names; without one the test is skipped, with the reason."""
    given = os.environ.get("HEADWISE_DATA")
    if not given:
        pytest.skip("HEADWISE_DATA is not set: it names the folder of data sets")
    folder = Path(given)
    if not folder.is_dir():
        pytest.skip(f"HEADWISE_DATA={given} is not a folder")
    return folder


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    """The browser, one a process as Playwright wants it; a test that asks for it is skipped where there is none."""
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed (pip install -e '.[dev]')")
    found = next((path for name in CHROMIUM if (path := shutil.which(name))), None)
    if found is None:
        pytest.skip(f"no Chromium on the PATH (looked for {', '.join(CHROMIUM)})")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=ARGUMENTS, timeout=1000 * PATIENCE)
        yield browser
        browser.close()
