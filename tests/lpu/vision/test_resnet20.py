"""A trained network on real photos: the classes, and logits beside an outside implementation."""

from pathlib import Path

import numpy as np
import pytest

from takt.chips import Chip
from takt.lpu.vision import VisionCompiled, compile_vision, float_logits, load_onnx

CLASSES = [3, 2, 3, 3, 5, 5]  # cat, bird, cat, cat, dog, dog


@pytest.fixture(scope="module", params=["int8", "fp16"])
def compiled(
    request: pytest.FixtureRequest, resnet20: Path, photos: np.ndarray, chip: Chip
) -> VisionCompiled:
    return compile_vision(load_onnx(resnet20), chip, weights=request.param, calibration=photos)


@pytest.fixture(scope="module")
def outside(resnet20: Path, photos: np.ndarray) -> np.ndarray:
    runtime = pytest.importorskip("onnxruntime")
    session = runtime.InferenceSession(str(resnet20))
    return np.concatenate([session.run(None, {"input": image[None]})[0] for image in photos])


def test_the_importer_loses_nothing(
    resnet20: Path, photos: np.ndarray, outside: np.ndarray
) -> None:
    assert np.abs(float_logits(load_onnx(resnet20), photos) - outside).max() < 1e-4


def test_photos_get_their_class_and_logits_agree(
    compiled: VisionCompiled, photos: np.ndarray, outside: np.ndarray
) -> None:
    logits = compiled.run(photos)
    assert logits.argmax(axis=1).tolist() == CLASSES
    worst, mean = {"int8": (1.0, 0.25), "fp16": (0.04, 0.01)}[compiled.weights]
    assert np.abs(logits - outside).max() < worst  # of logits up to 23
    assert np.abs(logits - outside).mean() < mean


def test_every_layer_has_the_same_bits_on_the_reference_engine(
    compiled: VisionCompiled, photos: np.ndarray
) -> None:
    assert np.array_equal(compiled.run(photos[:1]), compiled.run(photos[:1], engine="reference"))


def test_made_up_calibration_keeps_the_classes(
    resnet20: Path, photos: np.ndarray, chip: Chip
) -> None:
    logits = compile_vision(load_onnx(resnet20), chip).run(photos)
    assert logits.argmax(axis=1).tolist() == CLASSES
