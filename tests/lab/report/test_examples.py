"""The examples on a run's page: a few of different kinds, small enough, by one script that the page's policy names."""

import base64
import hashlib
import json
import re
from pathlib import Path

import headwise
from headwise.lab.report.write import write_report
from tests.training.recipes import GUMBEL, PONDER, tiny


def test_the_page_of_a_run_shows_the_model_at_work(tmp_path: Path) -> None:
    page = write_report(headwise.train(tiny(tmp_path, PONDER), progress=False)).read_text(encoding="utf-8")
    examples = re.findall(r'<script type="application/json">(.*?)</script>', page, re.S)
    assert 1 <= len(examples) <= 4
    for text in examples:
        (run,) = json.loads(text)["runs"]
        assert run["label"] == "custom, seed 0"
        assert run["answers"]
        assert run["gates"]
    assert len(page.encode()) < 2_000_000
    (script,) = re.findall(r"<script>(.*?)</script>", page, re.S)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in page
    assert "no script" not in page


def test_a_run_whose_data_are_gone_says_why_it_shows_none(tmp_path: Path) -> None:
    directory = headwise.train(tiny(tmp_path, GUMBEL), progress=False)
    (directory / "model.safetensors").write_bytes(b"damaged")
    page = write_report(directory).read_text(encoding="utf-8")
    assert re.search(r"Not shown: [^<]*model.safetensors", page)
    assert "<script" not in page
    (directory / "model.safetensors").unlink()
    assert "The model at work" not in write_report(directory).read_text(encoding="utf-8")
