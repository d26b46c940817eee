"""Hugging Face directories: `config.json`, safetensors, `tokenizer.json` become a `Model`.

Holds the table of families. `hf_llama`, `hf_classic`, `hf_experts` and `hf_gemma` know their configs, `hf_names` and
`hf_stored` where their tensors lie.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol

import msgspec

from takt.errors import DataError, ModelError, UnsupportedError, did_you_mean

from .files import read_json
from .hf_classic import BertConfig, Gpt2Config, GptNeoConfig
from .hf_common import GenerationConfig
from .hf_experts import (
    DeepseekV3Config,
    GptOssConfig,
    Llama4Config,
    Llama4TextConfig,
    MixtralConfig,
    Qwen3MoeConfig,
)
from .hf_gemma import Gemma2Config, Gemma3Config, Gemma3TextConfig
from .hf_llama import LlamaConfig, MistralConfig, Qwen2Config, Qwen3Config
from .hf_names import (
    BERT_NAMES,
    DEEPSEEK_NAMES,
    GEMMA_NAMES,
    GPT2_NAMES,
    GPT_NEO_NAMES,
    GPT_OSS_NAMES,
    LLAMA_NAMES,
    MIXTRAL_NAMES,
    QWEN_MOE_NAMES,
    TensorNames,
)
from .hf_stored import tensor_refs
from .model import Model
from .safetensors_file import open_checkpoint
from .shape import ModelShape, Pooling
from .tokenizer import Tokenizer, TokenizerReader, load_tokenizer_json


class FamilyConfig(Protocol):
    """A family's `config.json`, decoded."""

    def shape(self, name: str, architecture: str) -> ModelShape:
        """What the config describes. ModelError or UnsupportedError where it is none of ours."""


# Families without names are read as far as their shape: weights of their text part lie among others.
_FAMILIES: Mapping[str, tuple[type[FamilyConfig], TensorNames | None]] = MappingProxyType(
    {
        "llama": (LlamaConfig, LLAMA_NAMES),
        "mistral": (MistralConfig, LLAMA_NAMES),
        "qwen2": (Qwen2Config, LLAMA_NAMES),
        "qwen3": (Qwen3Config, LLAMA_NAMES),
        "mixtral": (MixtralConfig, MIXTRAL_NAMES),
        "qwen3_moe": (Qwen3MoeConfig, QWEN_MOE_NAMES),
        "gpt_oss": (GptOssConfig, GPT_OSS_NAMES),
        "deepseek_v3": (DeepseekV3Config, DEEPSEEK_NAMES),
        "kimi_k2": (DeepseekV3Config, DEEPSEEK_NAMES),
        "gemma2": (Gemma2Config, GEMMA_NAMES),
        "gemma3_text": (Gemma3TextConfig, GEMMA_NAMES),
        "gemma3": (Gemma3Config, None),
        "llama4_text": (Llama4TextConfig, None),
        "llama4": (Llama4Config, None),
        "gpt2": (Gpt2Config, GPT2_NAMES),
        "gpt_neo": (GptNeoConfig, GPT_NEO_NAMES),
        "bert": (BertConfig, BERT_NAMES),
    }
)


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
    _refuse_quantised(directory / "config.json")
    shape, names = _read_config(directory, name or directory.resolve().name)
    if names is None:
        raise UnsupportedError(
            f"of {shape.architecture} Takt reads the sizes, not the weights", hint="see `shape_of`"
        )
    stored = open_checkpoint(directory)
    refs = tensor_refs(shape, names, stored)
    files = {id(tensor.file): tensor.file for tensor in stored.values()}
    return Model(
        shape=shape,
        tensors=refs,
        source=f"Hugging Face directory {directory}",
        tokenizer=tokenizer(shape.vocab_size) if tokenizer else _own_tokenizer(directory),
        files=files.values(),
    )


def config_shape(directory: Path, name: str) -> ModelShape:
    """The shape that the `config.json` of a directory states, whatever way the weights are stored."""
    return _read_config(directory, name)[0]


def _read_config(directory: Path, name: str) -> tuple[ModelShape, TensorNames | None]:
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
    return head.model_type


def _refuse_quantised(path: Path) -> None:
    if read_json(path, _Head).quantization_config is not None:
        raise UnsupportedError(
            f"{path} describes quantised weights, which Takt does not read from Hugging Face directories",
            hint="use the unquantised checkpoint, or a GGUF with Q8_0 or Q4_0",
        )


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
