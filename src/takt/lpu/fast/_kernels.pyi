"""The C extension's face; docstrings are in `_kernels.c`."""

from numpy import generic
from numpy.typing import NDArray

def run(
    ops: NDArray[generic],
    args: NDArray[generic],
    columns: NDArray[generic],
    tiles: NDArray[generic],
    n_ops: int,
    words: int,
    threads: int,
    /,
) -> tuple[int, int]: ...
def measure(columns: NDArray[generic], is_f16: bool, /) -> None: ...
def place(
    sizes: NDArray[generic], last_use: NDArray[generic], offsets: NDArray[generic], /
) -> int: ...
def kernels(at_most: int = 9, /) -> int: ...
