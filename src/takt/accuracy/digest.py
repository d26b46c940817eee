"""Rows that the shipped corrections were fitted to, recognised again by a digest of what was measured.

``fitted.bin`` holds sorted 8-byte digests, written by `save_digests` whenever corrections are fitted. A digest
covers the configuration and its figures, not the file's name or line: the same row in a file of another name is
still the same row. Knows no prediction.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import astuple
from functools import cache
from importlib.resources import files
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .case import Case

__all__ = ["digest_of", "fitted_digests", "save_digests"]

_FILE = "fitted.bin"
# Files are written with as many digits as their author liked; the sixth says nothing.
_DIGITS = 5


def digest_of(case: Case) -> int:
    """64 bits of dataset, chip, model, engine, types, split, lengths, load and measured figures."""
    parts: tuple[object, ...] = (
        case.dataset, case.chip, case.model, case.engine, case.engine_version,
        case.weights, case.experts, case.kv, case.load, case.n_chips, case.split_known,
        astuple(case.split), astuple(case.prefill) if case.prefill else (),
        case.concurrency, case.rate_per_s, case.n_requests,
        case.prompt_tokens, case.output_tokens, case.depth_tokens, case.speculative,
        astuple(case.measured),
    )  # fmt: skip
    text = "|".join(_text(part) for part in parts)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


def _text(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.{_DIGITS}g}"
    if isinstance(value, tuple):
        return ",".join(_text(part) for part in value)
    return str(value)


def save_digests(path: Path, cases: Iterable[Case]) -> int:
    """Write the digests of `cases`, sorted, each once; how many there are."""
    found = np.unique(np.asarray([digest_of(case) for case in cases], dtype="<u8"))
    path.write_bytes(found.tobytes())
    return len(found)


@cache
def fitted_digests() -> NDArray[np.uint64]:
    """Digests of the rows that the shipped corrections were fitted to, sorted; none where nothing was fitted."""
    path = files("takt.accuracy").joinpath(_FILE)
    if not path.is_file():
        return np.empty(0, dtype=np.uint64)
    return np.frombuffer(path.read_bytes(), dtype="<u8")
