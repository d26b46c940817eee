"""Hugging Face directories: `config.json`, safetensors, `tokenizer.json` become a `Model`.

Holds the table of families. Checks that every tensor the
shape calls for is stored, with the right size and a readable type, before any is read.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import msgspec
import numpy as np

from takt.errors import DataError, ModelError, UnsupportedError, did_you_mean

from .files import read_json
from .hf_classic import BertConfig, Gpt2Config, GptNeoConfig
from .hf_common import GenerationConfig
from .hf_llama import LlamaConfig, MistralConfig, Qwen2Config, Qwen3Config
from .hf_names import BERT_NAMES, GPT2_NAMES, GPT_NEO_NAMES, LLAMA_NAMES, TensorNames
from .model import Model, Tensor, TensorRef
from .safetensors_file import READABLE, StoredTensor, open_checkpoint
from .shape import ModelShape, Pooling, tensor_shapes
from .tokenizer import Tokenizer, TokenizerReader, load_tokenizer_json

FamilyConfig = LlamaConfig | Gpt2Config | GptNeoConfig | BertConfig


_FAMILIES: Mapping[str, tuple[type[FamilyConfig], TensorNames]] = MappingProxyType(
    {
        "llama": (LlamaConfig, LLAMA_NAMES),
        "mistral": (MistralConfig, LLAMA_NAMES),
        "qwen2": (Qwen2Config, LLAMA_NAMES),
        "qwen3": (Qwen3Config, LLAMA_NAMES),
        "gpt2": (Gpt2Config, GPT2_NAMES),
        "gpt_neo": (GptNeoConfig, GPT_NEO_NAMES),
        "bert": (BertConfig, BERT_NAMES),
    }
)
# The original TensorFlow names, which early BERT exports still carry.
_OLD_NAMES = (("LayerNorm.weight", "LayerNorm.gamma"), ("LayerNorm.bias", "LayerNorm.beta"))
_FUSED = ("attn.q", "attn.k", "attn.v")


class _Head(msgspec.Struct):
    """The part of any config that says which family reads the rest."""

    model_type: str = ""
    architectures: list[str] | None = None
    quantization_config: dict[str, Any] | None = None


class _SentenceModule(msgspec.Struct):
    type: str
    path: str = ""


class _PoolingConfig(msgspec.Struct):
    pooling_mode_cls_token: bool = False
    pooling_mode_mean_tokens: bool = False


def load_directory(
    directory: Path, *, name: str | None = None, tokenizer: TokenizerReader | None = None
) -> Model:
    """The model in a Hugging Face directory, called `name` (the directory's own name without one)."""
    shape, names = read_config(directory, name or directory.resolve().name)
    stored = open_checkpoint(directory)
    refs = _tensor_refs(shape, names, stored)
    files = {id(tensor.file): tensor.file for tensor in stored.values()}
    return Model(
        shape=shape,
        tensors=refs,
        source=f"Hugging Face directory {directory}",
        tokenizer=tokenizer(shape.vocab_size) if tokenizer else _own_tokenizer(directory),
        files=files.values(),
    )


def read_config(directory: Path, name: str) -> tuple[ModelShape, TensorNames]:
    """The shape that `config.json` (and the small files beside it) states, and the family's names."""
    path = directory / "config.json"
    family = _supported_family(read_json(path, _Head))
    kind, names = _FAMILIES[family]
    config = read_json(path, kind)
    try:
        shape = config.shape(name, family)
        return _with_side_files(shape, directory), names
    except ModelError as error:
        raise DataError(str(error), file=str(path), hint=error.hint) from error


def _supported_family(head: _Head) -> str:
    """The family's name, or UnsupportedError naming the architecture and what is supported."""
    named = (head.architectures or [head.model_type or "none"])[0]
    if head.model_type not in _FAMILIES:
        near = did_you_mean(head.model_type, _FAMILIES) if head.model_type else None
        raise UnsupportedError(
            f"architecture {named!r} (model_type {head.model_type!r}) is not supported",
            hint=near or f"supported model types: {', '.join(_FAMILIES)}",
        )
    if head.quantization_config is not None:
        raise UnsupportedError(
            f"{named} is stored quantised, which Takt does not read from Hugging Face directories",
            hint="use the unquantised checkpoint, or a GGUF with Q8_0 or Q4_0",
        )
    return head.model_type


def _with_side_files(shape: ModelShape, directory: Path) -> ModelShape:
    """What generation_config.json (end ids) and modules.json (pooling) add."""
    if shape.family == "encoder":
        pooling, normalize = _sentence_modules(directory)
        return replace(shape, pooling=pooling, normalize=normalize)
    generation = directory / "generation_config.json"
    eos_ids = read_json(generation, GenerationConfig).eos_ids() if generation.is_file() else ()
    return replace(shape, eos_ids=eos_ids) if eos_ids else shape


def _sentence_modules(directory: Path) -> tuple[Pooling | None, bool]:
    """Pooling and normalisation of a sentence encoder; (None, False) for a plain one."""
    path = directory / "modules.json"
    if not path.is_file():
        return None, False
    pooling: Pooling | None = None
    kinds = set()
    for module in read_json(path, list[_SentenceModule]):
        kind = module.type.rpartition(".")[2]
        kinds.add(kind)
        if kind not in ("Transformer", "Pooling", "Normalize"):
            raise UnsupportedError(f"{path}: sentence encoder module {kind!r} is not supported")
        if kind == "Pooling":
            pooling = _pooling(directory, module.path)
    return pooling, "Normalize" in kinds


def _pooling(directory: Path, folder: str) -> Pooling:
    if folder != Path(folder).name:
        raise DataError("bad folder", file=str(directory / "modules.json"), found=folder)
    path = directory / folder / "config.json"
    config = read_json(path, _PoolingConfig)
    if config.pooling_mode_cls_token == config.pooling_mode_mean_tokens:
        raise UnsupportedError(f"{path}: only mean or first-token pooling is supported")
    return "cls" if config.pooling_mode_cls_token else "mean"


def _own_tokenizer(directory: Path) -> Tokenizer | None:
    path = directory / "tokenizer.json"
    return load_tokenizer_json(path) if path.is_file() else None


def _tensor_refs(
    shape: ModelShape, names: TensorNames, stored: Mapping[str, StoredTensor]
) -> dict[str, TensorRef]:
    """A reference for every tensor of the shape that the checkpoint has."""
    embed = f"{names.top['embed']}.weight"
    prefix = next((p for p in names.prefixes if p + embed in stored), names.prefixes[0])
    refs = {}
    for name in tensor_shapes(shape):
        found = _find(stored, _stored_name(name, names, prefix))
        if found is None:
            continue
        if found.dtype not in READABLE:
            raise UnsupportedError(
                f"{found.file.path}: {found.name} is {found.dtype}; Takt reads {', '.join(READABLE)}"
            )
        refs[name] = _ref(name, found, names.conv1d)
    return refs


def _stored_name(name: str, names: TensorNames, prefix: str) -> str:
    """`layers.3.attn.q.weight` -> `model.layers.3.self_attn.q_proj.weight` and so on."""
    part, _, leaf = name.rpartition(".")
    if part == "head":
        return f"lm_head.{leaf}"
    if not part.startswith("layers."):
        return f"{prefix}{names.top[part]}.{leaf}"
    _, layer, rest = part.split(".", 2)
    return f"{prefix}{names.layer_prefix}{layer}.{names.layer[rest]}.{leaf}"


def _find(stored: Mapping[str, StoredTensor], name: str) -> StoredTensor | None:
    if name in stored:
        return stored[name]
    for new, old in _OLD_NAMES:
        if name.endswith(new):
            return stored.get(name.removesuffix(new) + old)
    return None


def _ref(name: str, found: StoredTensor, conv1d: bool) -> TensorRef:
    """The reference as we want it: [out, in], and q, k, v apart."""
    part = name.rpartition(".")[0].partition(".")[2].partition(".")[2]
    if not conv1d or not name.startswith("layers.") or part.endswith("norm"):
        return TensorRef(dims=found.dims, read=found.read)
    third = _FUSED.index(part) if part in _FUSED else None
    dims = found.dims[::-1]
    if third is None:
        return TensorRef(dims=dims, read=lambda: np.ascontiguousarray(found.read().T))
    rows = dims[0] // 3 if dims and dims[0] % 3 == 0 else 0
    here = slice(third * rows, (third + 1) * rows)

    def read() -> Tensor:
        return np.ascontiguousarray(found.read().T[here])

    return TensorRef(dims=(rows, *dims[1:]), read=read)
