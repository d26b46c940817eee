"""Requests as they come to an engine: chunks of records, checked, and cut into conversations. Knows no time of its own."""

from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from takt.errors import DataError

from .records import NOBODY, REQUEST

__all__ = ["checked", "conversations"]

_LONGEST_NS = 1 << 60
_LONGEST_TOKENS = 1 << 28


def checked(chunks: Iterable[NDArray[np.void]], n_tiers: int) -> Iterator[NDArray[np.void]]:
    """The same chunks, whose rows an engine may trust. Raises DataError with the first row that is wrong."""
    last_ns, done = 0, 0
    for chunk in chunks:
        if chunk.dtype != REQUEST or chunk.ndim != 1:
            raise DataError("requests are rows of takt.serving.REQUEST", found=str(chunk.dtype))
        if not len(chunk):
            continue
        if done == 0 and chunk["turn"][0] != 0:
            raise DataError("requests begin with a later turn", key="row 0", expected="turn 0")
        for name, least, most in (
            ("arrival_ns", 0, _LONGEST_NS),
            ("prompt_tokens", 1, _LONGEST_TOKENS),
            ("output_tokens", 1, _LONGEST_TOKENS),
            ("tier", 0, n_tiers - 1),
            ("turn", 0, 1 << 30),
            ("session", NOBODY, 1 << 62),
            ("group", NOBODY, 1 << 30),
            ("group_tokens", 0, chunk["prompt_tokens"]),
            ("seen_tokens", 0, chunk["prompt_tokens"]),
        ):
            bad = (chunk[name] < least) | (chunk[name] > most)
            if bad.any():
                i = int(np.argmax(bad))
                top = most if isinstance(most, int) else most[i]
                raise DataError(
                    "a request that can't be",
                    key=f"row {done + i}, {name}",
                    expected=f"{least:,} to {top:,}",
                    found=f"{chunk[name][i]:,}",
                )
        first = chunk["arrival_ns"][chunk["turn"] == 0]
        if len(first) and (first[0] < last_ns or (np.diff(first) < 0).any()):
            raise DataError("requests are not sorted by arrival", key=f"rows {done:,} on")
        last_ns = int(first[-1]) if len(first) else last_ns
        done += len(chunk)
        yield chunk


def conversations(
    chunks: Iterable[NDArray[np.void]],
) -> Iterator[list[tuple[int, np.void]]]:
    """(number of the row, row) of a first turn and the turns that follow it."""
    talk: list[tuple[int, np.void]] = []
    number = 0
    for chunk in chunks:
        for row in chunk:
            if row["turn"] == 0 and talk:
                yield talk
                talk = []
            talk.append((number, row))
            number += 1
    if talk:
        yield talk
