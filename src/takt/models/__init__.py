"""Models in: real checkpoints become one frozen shape and tensors on demand.

`load_model` takes what a user types; `ModelShape` is what every later room reads; `reference_logits` and
`reference_encoding` are the plain numpy truth that faster engines are compared with.
"""

from .catalogue import SHAPES, random_model
from .load import load_model, shape_of
from .model import Model
from .parts import Experts, Latent
from .reference import reference_encoding, reference_logits
from .rope import rope_frequencies
from .shape import ModelShape, tensor_shapes
from .tokenizer import TextStream, Tokenizer

__all__ = [
    "SHAPES",
    "Experts",
    "Latent",
    "Model",
    "ModelShape",
    "TextStream",
    "Tokenizer",
    "load_model",
    "random_model",
    "reference_encoding",
    "reference_logits",
    "rope_frequencies",
    "shape_of",
    "tensor_shapes",
]
