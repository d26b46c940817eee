"""Words of measurement files in Takt's own: engines and number types.

Knows spellings; which parts of a checkpoint are stored in a type that its label doesn't say comes
from `checkpoints.toml`. Does not know models or chips: those stay as the file spells them.
"""

import re
from dataclasses import dataclass

from takt.accuracy.readers.facts import checkpoints

__all__ = ["Types", "drafting_of", "engine_of", "stored_types", "type_of"]

_ENGINES = (
    ("vllm", "vllm"),
    ("sglang", "sglang"),
    ("tensorrt-llm", "trtllm"),
    ("trtllm", "trtllm"),
    ("trt", "trtllm"),
    ("atom", "atom"),
    ("llama.cpp", "llama.cpp"),
    ("ktransformers", "ktransformers"),
    ("deepspeed", "deepspeed"),
    ("neuron", "neuron"),
    ("tgi", "tgi"),
)
_TYPES = {
    "fp32": "fp32",
    "float32": "fp32",
    "f32": "fp32",
    "bf16": "bf16",
    "fp16": "bf16",
    "f16": "bf16",
    "half": "bf16",
    "float16": "bf16",
    "bfloat16": "bf16",
    "fp8": "fp8",
    "float8": "fp8",
    "fp8_block": "fp8",
    "fp4": "fp4",
    "nvfp4": "fp4",
    "mxfp4": "mxfp4",
    "int8": "int8",
    "uint8": "int8",
    "w8a8": "int8",
    "int4": "int4",
    "uint4": "int4",
    "int4_wo": "int4",
    "awq": "int4",
    "gptq": "int4",
    "w4a16": "int4",
    "int2": "int2",
    "int3": "int3",
    "int5": "int5",
    "int6": "int6",
}
# A type's name inside a model's or a file's name: not inside a longer word.
_TYPE_WORD = re.compile(
    r"(?<![a-z0-9])(mxfp4|nvfp4|fp4|fp8|int8|int4|awq|gptq|bf16|fp16|f16|w8a8|w4a16)(?![a-z0-9])"
)


# Families with layers of their own for multi-token prediction: engines draft with those.
_OWN_DRAFTS = re.compile(r"deepseek-?(v3|r1|v4)|glm-?(4\.[5-9]|5)|qwen3\.5|step-?3\.5|mimo")


@dataclass(frozen=True, slots=True, kw_only=True)
class Types:
    """Stored types of weights and, where they differ, of routed experts; "" unknown."""

    weights: str
    experts: str = ""


def engine_of(text: str) -> str:
    """The engine's short name: `dynamo-trt` and `TensorRT-LLM` are `trtllm`; others in lower case."""
    lower = text.strip().lower()
    return next((name for part, name in _ENGINES if part in lower), lower)


def drafting_of(model: str, note: str = "") -> str:
    """How a model that drafts does it: `mtp` with layers of its own, else `draft`."""
    own = "mtp" in note.lower() or _OWN_DRAFTS.search(model.lower())
    return "mtp" if own else "draft"


def type_of(text: str) -> str:
    """The number type that a label means, "" where it means none or none that is known.

    16-bit types are all `bf16`: what matters of them here, size and rate, is the same.
    """
    lower = text.strip().lower()
    if lower in _TYPES:
        return _TYPES[lower]
    found = _TYPE_WORD.search(lower)
    return _TYPES[found.group(1)] if found else ""


def stored_types(model: str, label: str = "") -> Types:
    """Types that a checkpoint is stored in: from the label, else from the model's name.

    A label such as `fp4` may mean the experts alone: `checkpoints.toml` says for which models.
    """
    weights = type_of(label) or type_of(model)
    for known in checkpoints():
        if re.search(known.pattern, model.lower()) and weights in known.labels:
            return Types(weights=known.weights, experts=known.experts)
    return Types(weights=weights)
