"""What a name says about how weights are stored: FP8, NVFP4, AWQ, and the block formats of GGUF files.

Bits a weight of block formats: the quantize tool of llama.cpp on Llama 2 7B (tools/quantize/README.md), or those of
the block itself (ggml) where that list has none. A name that states its own ("4.25 bpw") is believed.
"""

import re
from dataclasses import dataclass
from types import MappingProxyType

__all__ = ["Quantisation", "cut_quantisation"]

_BITS = MappingProxyType(
    {
        "q2_k": 3.35, "q3_k_s": 3.50, "q3_k_m": 3.91, "q3_k_l": 4.27, "q4_k_s": 4.58, "q4_k_m": 4.84,
        "q5_k_s": 5.52, "q5_k_m": 5.68, "q6_k": 6.56, "q4_0": 4.5, "q4_1": 5.0, "q5_0": 5.5, "q5_1": 6.0,
        "q8_0": 8.5, "iq1_s": 1.56, "iq1_m": 1.75, "iq2_xxs": 2.06, "iq2_xs": 2.31, "iq2_s": 2.5, "iq2_m": 2.7,
        "iq3_xxs": 3.06, "iq3_xs": 3.3, "iq3_s": 3.44, "iq3_m": 3.66, "iq4_xs": 4.25, "iq4_nl": 4.5,
        "iq2_k": 2.375, "iq3_k": 3.4375, "iq4_k": 4.5, "iq5_k": 5.5, "iq6_k": 6.625, "iq2_kt": 2.125,
        "tq1_0": 1.69, "tq2_0": 2.06, "i2_s": 2.0, "iq2_bn": 2.0, "iq1_bn": 1.625,
        "q2_k_s": 3.0, "q2_k_l": 3.4, "q3_k": 3.91, "q4_k": 4.84, "q5_k": 5.68, "q8_k": 8.5,
    }
)  # fmt: skip
_BLOCKS = re.compile(
    r"[-. _](?:ud-)?(?:i1-)?(i?q[1-8](?:_(?:[a-z0-9]+))*|tq[12]_0|i2_s)(?=$|[-. _])(.*)$"
)
_LONG = (("small", "s"), ("medium", "m"), ("large", "l"))
# What a name says -> how catalogue names say it, and the type.
_PLAIN: tuple[tuple[str, str, str], ...] = (
    (r"mxfp4", "mxfp4", "mxfp4"),
    (r"nvfp4|fp4", "nvfp4", "fp4"),
    (r"mxfp8|fp8", "fp8", "fp8"),
    (r"awq|gptq|int4|w4a16|4bit|4-bit", "int4", "int4"),
    (r"int8|w8a8|w8a16|8bit|8-bit", "int8", "int8"),
    (r"bf16|fp16|f16", "bf16", "bf16"),
    (r"fp32|f32", "fp32", "fp32"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantisation:
    """How weights are stored: `word` as catalogue names end, `stored` as outlines say it.

    `bits` a weight on average, of block formats; 0 where the type says it.
    """

    word: str
    stored: str
    bits: float = 0.0


def cut_quantisation(name: str) -> tuple[str, Quantisation | None]:
    """A lower-case name without what it says about storage, and that."""
    found = _BLOCKS.search(name)
    if found:
        return name[: found.start()], _block_format(found.group(1), found.group(2))
    for pattern, word, stored in _PLAIN:
        hit = re.search(rf"(?:^|[-._ ])(?:{pattern})(?:_r\d+)?(?=$|[-._ ])", name)
        if hit:
            rest = name[: hit.start()] + " " + name[hit.end() :]
            return rest.strip(), Quantisation(word=word, stored=stored)
    return name, None


def _block_format(word: str, tail: str) -> Quantisation:
    """A format of GGUF files; `tail` is what stands behind it ("- Medium", "- 4.25 bpw")."""
    stated = re.search(r"(\d{1,2}(?:\.\d{1,4})?) ?bpw", tail)
    kind = re.sub(r"_r\d+$", "", word)
    for long, short in _LONG:
        if tail.strip(" -").startswith(long):
            kind = f"{kind}_{short}"
    # Sizes beyond those listed (XL) mix in wider formats: those of the next smaller one, at least.
    kind = re.sub(r"_xl$", "_m" if kind[1] in "345" else "", kind)
    bits = float(stated.group(1)) if stated else _BITS.get(kind) or _BITS.get(kind[:4], 0.0)
    digits = re.search(r"\d", kind)
    narrow = int(digits.group()) < 6 if digits else True
    return Quantisation(word=word, stored="int4" if narrow else "int8", bits=min(bits, 32.0))
