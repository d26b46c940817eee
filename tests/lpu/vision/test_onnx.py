"""ONNX files: every operator beside an outside implementation, refusals by name, and damaged files."""

import tracemalloc
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from takt.errors import DataError, ModelError, TaktError, UnsupportedError
from takt.lpu.vision import float_logits, load_onnx
from takt.lpu.vision.onnx_file import parse_onnx
from takt.lpu.vision.onnx_graph import image_graph

onnx = pytest.importorskip("onnx")
helper, numpy_helper = onnx.helper, onnx.numpy_helper

LIMIT_BYTES = 200 << 20
RNG = np.random.default_rng(3)


def floats(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype(np.float32)


def model(
    nodes: Sequence[object],
    constants: dict[str, np.ndarray],
    *,
    shape: Sequence[object] = (1, 3, 9, 8),
    output: str = "y",
    listed: bool = False,
) -> bytes:
    """A file's bytes. `listed`: elements as fields of their own, not as raw bytes."""

    def tensor(name: str, values: np.ndarray) -> object:
        if not listed:
            return numpy_helper.from_array(values, name)
        kind = helper.np_dtype_to_tensor_dtype(values.dtype)
        return helper.make_tensor(name, kind, values.shape, values.reshape(-1).tolist())

    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(output, onnx.TensorProto.FLOAT, None)],
        [tensor(name, values) for name, values in constants.items()],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return made.SerializeToString()


def node(op: str, inputs: str, output: str = "y", **attributes: object) -> object:
    return helper.make_node(op, inputs.split(), [output], **attributes)


W = {"w": floats(6, 3, 3, 3), "b": floats(6)}
NORM = {"gain": floats(6), "off": floats(6), "mean": floats(6), "var": floats(6) ** 2 + 0.1}
CASES: dict[str, tuple[list[object], dict[str, np.ndarray]]] = {
    "conv": ([node("Conv", "x w b", pads=[1, 0, 2, 1], strides=[2, 1])], W),
    "conv_same": ([node("Conv", "x w", auto_pad="SAME_UPPER", strides=[2, 2])], W),
    "conv_groups": ([node("Conv", "x w", group=3)], {"w": floats(6, 1, 2, 2)}),
    "norm": ([node("Conv", "x w", "c"), node("BatchNormalization", "c gain off mean var")], W | NORM),
    "norm_after_relu": (
        [node("Conv", "x w", "c"), node("Relu", "c", "r"), node("BatchNormalization", "r gain off mean var", epsilon=0.01)],
        W | NORM,
    ),
    "relu_read_twice": (
        [node("Conv", "x w b", "c", pads=[1, 1, 1, 1]), node("Relu", "c", "r"), node("Add", "c r")],
        W,
    ),
    "add_relu": (
        [
            node("Conv", "x w b", "c", pads=[1, 1, 1, 1]),
            node("Relu", "c", "r"),
            node("Conv", "r v", "d", pads=[1, 1, 1, 1]),
            node("Add", "r d", "s"),
            node("Relu", "s"),
        ],
        W | {"v": floats(6, 6, 3, 3)},
    ),
    "add_itself": ([node("Conv", "x w b", "c"), node("Add", "c c")], W),
    "bias_by_add": ([node("Conv", "x w", "c"), node("Add", "c k")], W | {"k": floats(1, 6, 1, 1)}),
    "pool": ([node("Conv", "x w b", "c"), node("MaxPool", "c", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])], W),
    "mean_pool": ([node("Conv", "x w b", "c"), node("AveragePool", "c", kernel_shape=[2, 3], strides=[2, 1])], W),
    "mean_relu_gemm": (
        [
            node("Conv", "x w b", "c"),
            node("GlobalAveragePool", "c", "m"),
            node("Relu", "m", "r"),
            node("Flatten", "r", "f"),
            node("Gemm", "f v k", transB=1),
        ],
        W | {"v": floats(5, 6), "k": floats(5)},
    ),
    "mean_gemm": (
        [
            node("Conv", "x w b", "c"),
            node("GlobalAveragePool", "c", "m"),
            node("Reshape", "m shape", "f"),
            node("MatMul", "f v", "g"),
            node("Add", "g k"),
        ],
        W | {"v": floats(6, 5), "k": floats(5), "shape": np.array([1, -1])},
    ),
    "flat_gemm": (
        [node("Conv", "x w b", "c"), node("Flatten", "c", "f"), node("Gemm", "f v")],
        W | {"v": floats(252, 4)},
    ),
    "pad_conv": (
        [node("Pad", "x p", "q"), node("Conv", "q w b")],
        W | {"p": np.array([0, 0, 1, 2, 0, 0, 3, 0])},
    ),
    "shortcut": (
        [
            node("Conv", "x w b", "c", pads=[1, 1, 1, 1]),
            node("Slice", "c s0 s1 s2 s3", "d"),
            node("Pad", "d p zero"),
        ],
        W
        | {"s0": np.array([0, 0]), "s1": np.array([1 << 40, 1 << 40]), "s2": np.array([2, 3]), "s3": np.array([2, 2])}
        | {"p": np.array([0, 2, 0, 0, 0, 1, 0, 0]), "zero": np.array(0.0, np.float32)},
    ),
    "aliases": (
        [node("Identity", "x", "i"), node("Conv", "i w b", "c"), node("Dropout", "c", "d"), node("Relu", "d")],
        W,
    ),
    "constant_node": (
        [helper.make_node("Constant", [], ["w"], value=numpy_helper.from_array(W["w"])), node("Conv", "x w")],
        {},
    ),
}  # fmt: skip


@pytest.mark.parametrize("listed", [False, True])
@pytest.mark.parametrize("name", CASES)
def test_an_operator_does_what_onnxruntime_does(name: str, listed: bool) -> None:
    runtime = pytest.importorskip("onnxruntime")
    data = model(*CASES[name], listed=listed)
    image = floats(1, 3, 9, 8)
    expected = runtime.InferenceSession(data).run(None, {"x": image})[0]
    found = float_logits(image_graph(parse_onnx(data, name="g")), image)
    assert np.abs(found - expected.reshape(1, -1)).max() < 1e-4


@pytest.mark.parametrize(
    ("nodes", "constants", "words"),
    [
        ([node("Sigmoid", "x")], {}, "Sigmoid"),
        ([node("Conv", "x w", dilations=[2, 2])], W, "dilation"),
        ([node("Conv", "x x")], {}, "constant"),
        ([node("Conv", "x w", "c"), node("MaxPool", "c", kernel_shape=[2, 2], ceil_mode=1)], W, "ceil"),
        ([node("Conv", "x w", "c"), node("AveragePool", "c", kernel_shape=[3, 3], pads=[1, 1, 1, 1])], W, "counted"),
        ([node("Slice", "x a a")], {"a": np.array([1])}, "every nth"),
        ([node("Conv", "x w", "c"), node("Flatten", "c", axis=2)], W, "axis"),
        ([node("Identity", "x")], {}, "without a layer"),
    ],
)  # fmt: skip
def test_what_is_left_out_is_named(
    nodes: list[object], constants: dict[str, np.ndarray], words: str
) -> None:
    with pytest.raises(UnsupportedError, match=words):
        image_graph(parse_onnx(model(nodes, constants), name="g"))


def test_weights_outside_the_file_are_refused(tmp_path: Path) -> None:
    made = onnx.ModelProto()
    made.ParseFromString(model([node("Conv", "x w")], W))
    onnx.save(made, tmp_path / "m.onnx", save_as_external_data=True, size_threshold=0)
    with pytest.raises(UnsupportedError, match="another file"):
        load_onnx(tmp_path / "m.onnx")


def test_inputs_have_to_be_one_image() -> None:
    with pytest.raises(UnsupportedError, match="expected 1 × channels"):
        image_graph(parse_onnx(model([node("Relu", "x")], {}, shape=(1, "c", 4, 4)), name="g"))
    with pytest.raises(ModelError, match="nothing makes"):
        image_graph(parse_onnx(model([node("Relu", "x", "z")], {}), name="g"))
    with pytest.raises(ModelError, match="no tensor made before"):
        image_graph(parse_onnx(model([node("Relu", "q")], {}), name="g"))


def test_sizes_are_checked_before_anything_is_made() -> None:
    tensor = onnx.TensorProto(dims=[1 << 31, 1 << 31], data_type=1, name="w", raw_data=b"1234")
    graph = onnx.GraphProto(initializer=[tensor])
    with pytest.raises(DataError, match="wrong size"):
        parse_onnx(onnx.ModelProto(graph=graph).SerializeToString(), name="g")


def test_a_missing_file_is_a_model_error(tmp_path: Path) -> None:
    with pytest.raises(ModelError):
        load_onnx(tmp_path / "none.onnx")
    (tmp_path / "empty.onnx").write_bytes(b"")
    with pytest.raises(DataError, match=r"empty\.onnx"):
        load_onnx(tmp_path / "empty.onnx")


WHOLE = model(*CASES["add_relu"])
SHORTCUT = model(*CASES["shortcut"], listed=True)


@settings(max_examples=300, suppress_health_check=[HealthCheck.too_slow])
@given(
    data=st.sampled_from([WHOLE, SHORTCUT]),
    wounds=st.lists(st.tuples(st.integers(0, 1 << 16), st.integers(0, 255)), max_size=4),
    end=st.integers(0, 1 << 16),
)
def test_damaged_files_are_read_or_refused(
    data: bytes, wounds: list[tuple[int, int]], end: int
) -> None:
    hurt = bytearray(data)
    for at, byte in wounds:
        hurt[at % len(hurt)] = byte
    if end < len(hurt):
        hurt = hurt[:end]
    tracemalloc.start()
    try:
        image_graph(parse_onnx(bytes(hurt), name="g"))
    except TaktError as error:
        assert str(error)
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < LIMIT_BYTES
