"""Finds the training script (a file, not a package) and the shipped default model."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def default_model() -> Path:
    """The directory that ships in the package."""
    return ROOT / "src" / "takt" / "models" / "default"


@pytest.fixture(scope="session")
def train() -> Iterator[ModuleType]:
    """`training/train.py` as a module; skips where torch is not installed."""
    pytest.importorskip("torch", reason="training needs torch, which is not in the base install")
    spec = importlib.util.spec_from_file_location("takt_train", ROOT / "training" / "train.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their own module up
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]
