"""Image networks on one LPU: ONNX in, convolutions as passes through the MXM, one rigid schedule for an image.

graph      layers                  onnx_*     files → layers            resnet    ResNet-50's shapes
floats     the plain truth         layouts    pixels on vectors         windows   convolutions as passes
patches    the image on vectors    numbers    scales, integer weights   plan      layouts, deals and sets
floor      the chip, divided up    tensors    where vectors lie         weights   tiles in SRAM
passes     work for the arrays     convolve   a convolution's issues    pool      a pool's
timeline   when each step starts   fold       issues → instructions     compile   all of it
"""

from takt.lpu.vision.compile import VisionCompiled, compile_vision
from takt.lpu.vision.floats import float_logits
from takt.lpu.vision.graph import Conv, ImageGraph, MaxPool
from takt.lpu.vision.onnx_graph import load_onnx
from takt.lpu.vision.resnet import resnet50_graph

__all__ = [
    "Conv",
    "ImageGraph",
    "MaxPool",
    "VisionCompiled",
    "compile_vision",
    "float_logits",
    "load_onnx",
    "resnet50_graph",
]
