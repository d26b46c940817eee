"""ONNX files to image networks."""

from __future__ import annotations

from pathlib import Path

from takt.errors import ModelError, UnsupportedError
from takt.lpu.vision.graph import ImageGraph, Layer, Shape, sources
from takt.lpu.vision.onnx_file import OnnxFile, read_onnx
from takt.lpu.vision.onnx_operators import CONVERT
from takt.lpu.vision.onnx_state import Importer, View

_MOST_PIXELS = 1 << 14


def load_onnx(path: Path | str) -> ImageGraph:
    """Read an image network. DataError, ModelError or UnsupportedError say what is wrong with it."""
    return image_graph(read_onnx(Path(path)))


def image_graph(file: OnnxFile) -> ImageGraph:
    """The layers of a file that was read: one image in, one result out."""
    name, image = _image(file)
    importer = Importer(file)
    importer.views[name] = View(layer=name, shape=image)
    for node in file.nodes:
        convert = CONVERT.get(node.op)
        if convert is None:
            raise UnsupportedError(
                f"{node.label}: an operator that image networks here do not have"
            )
        if (not node.inputs and node.op != "Constant") or not node.outputs:
            raise ModelError(f"{node.label}: inputs or outputs are missing")
        convert(importer, node)
    if file.outputs[0] not in importer.views:
        raise ModelError(f"nothing makes the output '{file.outputs[0]}'")
    layers = _needed(importer, importer.views[file.outputs[0]].layer)
    graph = ImageGraph(name=file.name, input=name, input_shape=image, layers=layers)
    graph.shapes()
    return graph


def _image(file: OnnxFile) -> tuple[str, Shape]:
    """Name and shape of the one input."""
    if len(file.inputs) != 1 or len(file.outputs) != 1:
        raise UnsupportedError(
            f"a network with {len(file.inputs)} inputs and {len(file.outputs)} outputs: one image in, one result out"
        )
    ((name, shape),) = file.inputs.items()
    if len(shape) != 4 or min(shape[1:]) < 1 or shape[0] > 1:
        raise UnsupportedError(f"input of shape {shape}: expected 1 × channels × height × width")
    if max(shape) > _MOST_PIXELS:
        raise UnsupportedError(f"an image of {shape[1:]}")
    return name, (shape[1], shape[2], shape[3])


def _needed(importer: Importer, result: str) -> tuple[Layer, ...]:
    """Layers that the result needs, the result last."""
    if result not in importer.layers:
        raise UnsupportedError("a network without a layer")
    needed, layers = {result}, []
    for layer in reversed(importer.layers.values()):
        if layer.name in needed:
            needed |= set(sources(layer))
            layers.append(layer)
    return tuple(reversed(layers))
