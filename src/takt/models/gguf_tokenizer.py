"""The tokenizer that a GGUF file carries in its metadata.

`llama` vocabularies (SentencePiece) go to the score-merge tokenizer, `gpt2` ones (byte-level BPE) to the
`tokenizers` library with llama.cpp's splitting rule for the file's `tokenizer.ggml.pre`. Knows no tensors.
"""

from collections.abc import Mapping
from types import MappingProxyType

import tokenizers
from tokenizers import decoders, models, pre_tokenizers, processors

from takt.errors import DataError, UnsupportedError

from .gguf import GgufFile
from .score_merge import ScoreMergeTokenizer
from .tokenizer import LibraryTokenizer, Tokenizer, library_errors

_UNKNOWN, _CONTROL, _USER_DEFINED = 2, 3, 4  # values of tokenizer.ggml.token_type

_GPT2_SPLIT = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
_LLAMA3_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|"
    r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
# Applied in turn, each within the pieces of the one before.
SPLITS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "gpt-2": (_GPT2_SPLIT,),
        "default": (r"[\p{P}\$\+<=>\^~\|]+", _GPT2_SPLIT, r"\p{N}+", r"[0-9][0-9][0-9]"),
        "llama-bpe": (_LLAMA3_SPLIT,),
        "qwen2": (_LLAMA3_SPLIT.replace(r"\p{N}{1,3}", r"\p{N}"),),
        "smollm": (r"\p{N}", _GPT2_SPLIT),
    }
)


def read_tokenizer(file: GgufFile) -> Tokenizer | None:
    """The file's tokenizer, None where it has none. UnsupportedError for kinds Takt does not know."""
    kind = file.text("tokenizer.ggml.model", "none")
    if kind in ("none", "no_vocab"):
        return None
    if kind == "llama":
        return _score_merge(file)
    if kind == "gpt2":
        return _byte_level(file)
    raise UnsupportedError(
        f"{file.file.path}: tokenizer kind {kind!r} is not supported",
        hint="supported in GGUF: llama, gpt2; or give a tokenizer file",
    )


def _token_types(file: GgufFile, n_tokens: int) -> list[int]:
    if not file.has("tokenizer.ggml.token_type"):
        return [1] * n_tokens
    types: list[int] = file.numbers("tokenizer.ggml.token_type").tolist()
    if len(types) != n_tokens:
        raise _bad(file, "tokenizer.ggml.token_type", f"{n_tokens} entries", str(len(types)))
    return types


def _score_merge(file: GgufFile) -> ScoreMergeTokenizer:
    tokens = file.texts("tokenizer.ggml.tokens")
    scores = file.numbers("tokenizer.ggml.scores").astype(float).tolist()
    if len(scores) != len(tokens):
        raise _bad(file, "tokenizer.ggml.scores", f"{len(tokens)} entries", str(len(scores)))
    types = _token_types(file, len(tokens))
    bos_id = file.token_id("tokenizer.ggml.bos_token_id")
    eos_id = file.token_id("tokenizer.ggml.eos_token_id")
    unknown_id = file.token_id("tokenizer.ggml.unknown_token_id")
    return ScoreMergeTokenizer(
        pieces=[t.replace("\u2581", " ").encode("utf-8", "surrogateescape") for t in tokens],
        scores=scores,
        bos_id=1 if bos_id is None else bos_id,
        eos_id=2 if eos_id is None else eos_id,
        unknown_id=0 if unknown_id is None else unknown_id,
        special=frozenset(i for i, kind in enumerate(types) if kind in (_UNKNOWN, _CONTROL)),
        space_prefix=file.flag("tokenizer.ggml.add_space_prefix", True),
        adds_bos=file.flag("tokenizer.ggml.add_bos_token", True),
    )


def _byte_level(file: GgufFile) -> LibraryTokenizer:
    tokens = file.texts("tokenizer.ggml.tokens")
    types = _token_types(file, len(tokens))
    pre = file.text("tokenizer.ggml.pre", "default")
    if pre not in SPLITS:
        raise UnsupportedError(
            f"{file.file.path}: tokenizer splitting rule {pre!r} is not supported",
            hint=f"supported: {', '.join(SPLITS)}; or give a tokenizer.json",
        )
    merges = [merge.partition(" ")[::2] for merge in file.texts("tokenizer.ggml.merges")]
    vocabulary = {token: i for i, token in enumerate(tokens)}
    with library_errors("not a usable tokenizer", file.file.path):
        inner = tokenizers.Tokenizer(
            models.BPE(vocab=vocabulary, merges=merges, ignore_merges=pre == "llama-bpe")
        )
        inner.pre_tokenizer = pre_tokenizers.Sequence(
            [
                *(pre_tokenizers.Split(tokenizers.Regex(rule), "isolated") for rule in SPLITS[pre]),
                pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
            ]
        )
        inner.decoder = decoders.ByteLevel()
        for token, kind in zip(tokens, types, strict=True):
            if kind in (_CONTROL, _USER_DEFINED):
                added = tokenizers.AddedToken(token, normalized=False, special=kind == _CONTROL)
                inner.add_tokens([added])
        _add_bos(file, inner, tokens, pre)
    return LibraryTokenizer(inner)


def _add_bos(
    file: GgufFile, inner: tokenizers.Tokenizer, tokens: tuple[str, ...], pre: str
) -> None:
    bos_id = file.token_id("tokenizer.ggml.bos_token_id")
    wanted = file.flag("tokenizer.ggml.add_bos_token", pre == "llama-bpe")
    if wanted and bos_id is not None and bos_id < len(tokens):
        inner.post_processor = processors.TemplateProcessing(
            single=["bos", "$A"], special_tokens=[("bos", bos_id)]
        )


def _bad(file: GgufFile, key: str, expected: str, found: str) -> DataError:
    return DataError("bad GGUF", file=str(file.file.path), key=key, expected=expected, found=found)
