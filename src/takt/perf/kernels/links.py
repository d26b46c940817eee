"""What a collective must move over the links of one chip at the very least.

Sizes: `n_bytes` is the whole buffer that one chip holds where the collective holds most: the sum in an
all-reduce, the result in an all-gather, the input in a reduce-scatter, all that one chip hands out in an
all-to-all (as NCCL's tests count). Factors are those of a direct exchange in which switches may add, so an
all-reduce needs one pass out and one in, at the same time. Knows no chip.
"""

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from .work import Work, bytes_of, floats

__all__ = ["COLLECTIVES", "Collective", "collective_work", "deal_work", "send_work"]

Collective = Literal["all_reduce", "all_gather", "reduce_scatter", "all_to_all"]
COLLECTIVES: tuple[Collective, ...] = ("all_reduce", "all_gather", "reduce_scatter", "all_to_all")


def collective_work(n_bytes: ArrayLike, n_chips: ArrayLike) -> Work:
    """Bytes out of (and into) each of `n_chips`; none for a chip alone. At (bytes, chips)."""
    size, chips = floats(n_bytes, n_chips)
    moved = size * (1 - 1 / np.maximum(chips, 1))
    return Work(n_bytes=moved, n_ops=np.zeros_like(moved), at=(size, chips))


def deal_work(tokens: ArrayLike, dim: ArrayLike, top_k: ArrayLike, ep: ArrayLike) -> Work:
    """One chip's tokens sent to the chips of their experts in a byte a number, and back in two.

    A chip that holds several of a token's experts gets it once. At (bytes, chips).
    """
    own, width, picked, chips = floats(tokens, dim, top_k, ep)
    alone = 1 / np.maximum(chips, 1)
    reached = -np.expm1(picked * np.log1p(-np.minimum(alone, 1 - 1e-12))) / alone
    moved = own * width * (bytes_of("fp8") + bytes_of("bf16")) * reached * (1 - alone)
    return Work(n_bytes=moved, n_ops=np.zeros_like(moved), at=(moved, chips))


def send_work(n_bytes: ArrayLike) -> Work:
    """Bytes from one chip to one other. At (bytes,)."""
    (size,) = floats(n_bytes)
    return Work(n_bytes=size, n_ops=np.zeros_like(size), at=(size,))
