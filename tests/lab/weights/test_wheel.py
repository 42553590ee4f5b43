"""The second wheel, as far as it is in the repository: each model that it is made of brings the text of its licence."""

import tomllib
from pathlib import Path

from headwise.lab.weights.recipe import chosen

FOLDER = Path(__file__).parents[3] / "weights"


def test_the_licence_of_every_model_is_in_the_wheel_with_its_text() -> None:
    project = tomllib.loads((FOLDER / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    (pattern,) = project["license-files"]
    texts = {file.stem: file.read_text(encoding="utf-8") for file in FOLDER.glob(pattern)}
    assert set(texts) == {recipe.licence for recipe in chosen([]).values()} == set(project["license"].split(" AND "))
    assert all(len(text) > 1000 for text in texts.values())
