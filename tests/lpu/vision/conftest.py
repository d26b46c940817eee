"""What the vision tests share: the chip, and the published network with its photos."""

from pathlib import Path

import numpy as np
import pytest

from takt.chips import Chip, load_chip

MEAN = np.array([0.485, 0.456, 0.406], np.float32)
DEVIATION = np.array([0.229, 0.224, 0.225], np.float32)


@pytest.fixture(scope="session")
def chip() -> Chip:
    return load_chip("lpu-v1")


@pytest.fixture(scope="session")
def resnet20(shared: Path) -> Path:
    """A trained ResNet-20; its folder also holds six photos."""
    path = shared / "weights" / "resnet20-cifar10" / "resnet20.onnx"
    if not path.is_file():
        pytest.skip(f"no file {path}")
    return path


@pytest.fixture(scope="session")
def photos(resnet20: Path) -> np.ndarray:
    """f32 [6, 3, 32, 32], normalised as the network wants them: cat, bird, cat, cat, dog, dog."""
    stored = np.load(resnet20.parent / "photos32.npz")
    images = np.stack([stored[name] for name in stored.files]).astype(np.float32) / 255
    return ((images - MEAN) / DEVIATION).transpose(0, 3, 1, 2)
