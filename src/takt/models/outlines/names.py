"""Which model a name means, as people and measurement files spell it: 'LLaMA v3.1 70B', 'dsr1', 'Qwen3-30B-A3B-UD-Q4_K_XL'.

A name is taken apart into what says how weights are stored (`quantisation`), what says nothing about sizes
(instruct, chat, dates) and the rest, which is looked up with all signs between letters and digits left out. Aliases
lie in `names.json`. What no entry matches is guessed from the sizes in it (`guess`).
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from types import MappingProxyType

from .catalogue import OUTLINES, catalogue_outline
from .guess import NameSizes, guessed, sizes_in
from .outline import Outline
from .quantisation import Quantisation, cut_quantisation

__all__ = ["find_outline", "why_not"]

_MAX_NAME = 400
_ALIASES = Path(__file__).parent / "names.json"
# Words that say nothing about sizes.
_WORD_LIST = (
    "instruct chat hf it base thinking preview latest gguf meta nvidia turbo inst dynamic finetuned edge dyn pre "
    "trtllm quark neuralmagic pt text v0.1 v0.2 v0.3 v1 v1.1 specdec 99 99.9 ud i1 exp cased "
    "uncased"
)
_WORDS = frozenset(_WORD_LIST.split())
# Months and days such as 2507 or 0528, years, contexts such as 128k.
_STAMP = re.compile(r"0\d{3}|1[0-2]\d\d|2[3-9](0\d|1[0-2])|20\d\d|\d+k|8bit|4bit")
# What is not told by sizes of layers, and why, by a word in its name.
_REASONS: tuple[tuple[str, str], ...] = (
    (r"claude|\bgpt-?[45]\b|gemini|grok(?!-?1\b)|\bnova\b|^o[134](-|$)|qwen.*\bmax\b", "its sizes are not published"),
    (r"z-image|flux|qwen-image|stable-?diffusion|sdxl|\bsd3|\bwan-?2|hunyuan-?video|cosmos|t2v", "it makes images, not text"),
    (r"resnet|retinanet|yolo|\bunet|mobilenet|\bssd|efficientnet", "it is an image network"),
    (r"\bocr\b|ocr-\d", "it reads images into text; only language models are outlined"),
    (r"rnnt|whisper|asr\b|tts\b|wav2vec", "it works on sound"),
    (r"dlrm|rgat|recommend", "it is no language model"),
    (r"llada|dream-\d|diffusiongemma", "it writes many tokens a step by diffusion"),
    (r"pruned", "to what size it was pruned is not published"),
)  # fmt: skip


def find_outline(text: str) -> Outline | None:
    """The outline that a name means, None where it means no language model or nothing is known of its size.

    `stored` follows a quantisation that the name states. `basis` is `published`, or says what was assumed.
    """
    if why_reason(text) is not None:
        return None
    rest, quantisation = cut_quantisation(_plain(text))
    sizes = sizes_in(rest)
    for key in _keys(text, rest):
        name = _lookup(key, quantisation)
        if name is not None and _agrees(catalogue_outline(name), sizes):
            return _stored(catalogue_outline(name), quantisation, name)
    inside = _inside(_squeezed(rest), sizes)
    if inside is not None:
        return _stored(catalogue_outline(inside), quantisation, inside)
    guess = guessed(text, sizes) if sizes is not None else None
    return None if guess is None else _stored(guess, quantisation, "")


def why_not(text: str) -> str:
    """Why `find_outline` has no answer for a name, in words; "" where it has one."""
    reason = why_reason(text)
    if reason is not None:
        return reason
    if find_outline(text) is not None:
        return ""
    return "no such model is known, and its name states no size"


def why_reason(text: str) -> str | None:
    """Why a name means nothing that has an outline, None where it may have one."""
    if not text.strip() or len(text) > _MAX_NAME:
        return "it is no name"
    low = _plain(text)
    return next((reason for word, reason in _REASONS if re.search(word, low)), None)


def _plain(text: str) -> str:
    """Lower case, without brackets and owner."""
    low = re.sub(r"\([^)]*\)", " ", text[: _MAX_NAME + 1]).strip().lower()
    return low.rsplit("/", 1)[-1] if re.fullmatch(r"[\w.-]+/[^/]+", low) else low


def _keys(text: str, rest: str) -> Iterator[str]:
    """Spellings to look up, the most literal first."""
    yield _squeezed(text.lower())
    yield _squeezed(_plain(text))
    yield _squeezed(rest)
    words = [word for word in re.split(r"[\s_:-]+", rest) if word]
    kept = [w for w in words if w not in _WORDS and not _STAMP.fullmatch(w)]
    yield _squeezed("-".join(kept))
    yield _squeezed(
        re.sub(r"\b(llama|qwen|gemma|mixtral|deepseek)-?v(\d)", r"\1\2", "-".join(kept))
    )
    tail = [word for word in kept if not re.fullmatch(r"v\d(\.\d)?", word)]
    yield _squeezed("-".join(tail))


def _squeezed(text: str) -> str:
    return re.sub(r"[^a-z0-9.]", "", text)


@cache
def _aliases() -> Mapping[str, str]:
    """Squeezed spelling -> catalogue name."""
    own = {_squeezed(name): name for name in OUTLINES}
    return MappingProxyType(json.loads(_ALIASES.read_text(encoding="utf-8")) | own)


def _lookup(key: str, quantisation: Quantisation | None) -> str | None:
    """The catalogue name of a spelling; where an entry says how this quantisation is stored, that one."""
    name = _aliases().get(key)
    if name is None or quantisation is None:
        return name
    stated = f"{name}-{quantisation.word}"
    return stated if stated in OUTLINES else name


def _inside(key: str, sizes: NameSizes | None) -> str | None:
    """The longest known spelling within a longer name, such as a model's that others tuned further."""
    if sizes is None:
        return None
    for known, name in sorted(_aliases().items(), key=lambda item: -len(item[0])):
        at = key.find(known) if len(known) > 6 else -1
        if at < 0:
            continue
        cut = known[-1].isdigit() and key[at + len(known) :][:1].isdigit()
        if not cut and _agrees(catalogue_outline(name), sizes):
            return name
    return None


def _agrees(outline: Outline, sizes: NameSizes | None) -> bool:
    """Whether the total that a name states, if any, is near the model's."""
    if sizes is None or sizes.n_copies or not sizes.total or sizes.effective:
        return True
    return 0.7 < sizes.total / outline.n_parameters < 1.45 or outline.encoder or "e" in sizes.mark


def _stored(outline: Outline, quantisation: Quantisation | None, name: str) -> Outline:
    """The outline with its weights stored as a name says."""
    if quantisation is None or name.endswith(f"-{quantisation.word}"):
        return outline
    kind = quantisation.stored
    if kind == "bf16" and outline.stored_experts in ("fp4", "mxfp4", "int4"):
        return outline  # what was published in few bits: "F16" is the type of the rest
    stored, experts = kind, ""
    if kind in ("fp4", "mxfp4") and outline.has_experts:
        stored, experts = "bf16", kind  # as published: only experts, for most models with any
    return replace(outline, stored=stored, stored_experts=experts, stored_bits=quantisation.bits)
