"""Where every vector of a tensor lies, and from when on.

A vector is written by the chain that makes it, to that chain's slices of the tensor's memory set: once for every
array that may read it. Each slice also holds the vector that stands for all outside the image.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from takt.lpu.vision.layouts import Layout

Ints = NDArray[np.int64]

NOT_YET = 1 << 40


@dataclass(slots=True, kw_only=True, eq=False)
class Tensor:
    """`chain`, `word`, `ready` [grid positions, chunks]: who writes it, the word in each of that chain's slices, and the cycle in
    which it leaves the VXM. `slots` slices a chain, `copies` of `element_bytes` each.
    """

    name: str
    layout: Layout
    set: int
    copies: int
    element_bytes: int
    rest_word: int
    chain: Ints
    word: Ints
    ready: Ints

    @property
    def slots(self) -> int:
        """Slices of each chain that hold it."""
        return self.copies * self.element_bytes


def new_tensor(
    name: str, layout: Layout, set_: int, copies: int, element_bytes: int, first_word: int
) -> Tensor:
    """A tensor whose vectors have no place yet; its rest vector takes `first_word`."""
    shape = (layout.size, layout.chunks)
    return Tensor(
        name=name,
        layout=layout,
        set=set_,
        copies=copies,
        element_bytes=element_bytes,
        rest_word=first_word,
        chain=np.full(shape, -1, np.int64),
        word=np.zeros(shape, np.int64),
        ready=np.full(shape, NOT_YET, np.int64),
    )


def place_vectors(tensor: Tensor, chain: int, outputs: Ints, chunk: int, word: int) -> int:
    """Give consecutive words to vectors of one chain; returns the next free one."""
    tensor.chain[outputs, chunk] = chain
    tensor.word[outputs, chunk] = word + np.arange(len(outputs))
    return word + len(outputs)
