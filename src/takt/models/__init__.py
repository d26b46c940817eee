"""Models in: real checkpoints become one frozen shape and tensors on demand.

`load_model` takes what a user types; `ModelShape` is what every later room reads; `reference_logits` and
`reference_encoding` are the plain numpy truth that faster engines are compared with.
"""

from .catalogue import SHAPES, random_model
from .load import load_model
from .model import Model, TensorRef
from .reference import Encoding, reference_encoding, reference_logits, rope_frequencies
from .shape import ModelShape, RopeScaling, tensor_shapes
from .tokenizer import TextStream, Tokenizer

__all__ = [
    "SHAPES",
    "Encoding",
    "Model",
    "ModelShape",
    "RopeScaling",
    "TensorRef",
    "TextStream",
    "Tokenizer",
    "load_model",
    "random_model",
    "reference_encoding",
    "reference_logits",
    "rope_frequencies",
    "tensor_shapes",
]
