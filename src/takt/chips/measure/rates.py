"""Measures the memory and the matrix rates of the machine it runs on.

Bandwidth is that of memory: one thread a core, each in arrays of its own, all together many times
larger than the caches. Matrix rates are those of the libraries that are here: numpy's BLAS for fp32,
torch, where it is installed, for bf16 and int8. Every figure is the best of a few repeats, for what
disturbs a measurement only ever slows it down.

Knows nothing of files, power and price.
"""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from takt.chips.measure.host import Host
from takt.errors import UsageError

__all__ = ["Effort", "Measured", "measure"]

_Words = NDArray[np.float64]
# (what is done, share of the work that is done)
Progress = Callable[[str, float], None]

_TIMES_CACHE = 8
_MIN_ARRAY_BYTES = 1 << 26
_MAX_ARRAY_BYTES = 1 << 31
_BLOCK_WORDS = 1 << 15  # a triad's temporary has to stay in the innermost caches
_FIRST_TRY_DIM = 512
_MAX_TRY_S = 0.2  # a type that is emulated is told from one that is built in by a small product


@dataclass(frozen=True, slots=True, kw_only=True)
class Effort:
    """How much is done. `array_bytes`: of all arrays of one pass together, 0 for what suits the caches.

    `dim`: rows and columns of the matrices; `repeats`: of each pass.
    """

    array_bytes: int = 0
    dim: int = 2_048
    repeats: int = 5

    def __post_init__(self) -> None:
        if self.array_bytes < 0 or self.dim < 16 or self.repeats < 1:
            raise UsageError("a measurement needs matrices of 16 rows at least, and one repeat")


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What came out. Bytes count as the program sees them: a copy reads and writes its size.

    `half`, `int8`: matrix rates, None where no library here multiplies that type quickly.
    `libraries`: what made the figures, with versions. `date` is ISO.
    """

    host: Host
    array_bytes: int
    read_bytes_per_s: float
    copy_bytes_per_s: float
    triad_bytes_per_s: float
    fp32_ops_per_s: float
    half_ops_per_s: float | None
    int8_ops_per_s: float | None
    libraries: str
    date: str


def measure(host: Host, effort: Effort | None = None, progress: Progress | None = None) -> Measured:
    """Measure `host`, which has to be this machine. Takes a few seconds.

    Raises UsageError where memory is too small for arrays beyond the caches.
    """
    effort = effort or Effort()
    tell = progress or (lambda what, share: None)
    size = _array_bytes(host, effort)
    tell("memory", 0.0)
    read, copy, triad = _bandwidths(host.cores, size, effort.repeats)
    tell("fp32 products", 0.4)
    fp32 = _numpy_rate(effort)
    tell("bf16 and int8 products", 0.6)
    half, int8, torch_version = _torch_rates(effort)
    tell("done", 1.0)
    libraries = [f"numpy {np.__version__}", *([f"torch {torch_version}"] if torch_version else [])]
    return Measured(
        host=host,
        array_bytes=size,
        read_bytes_per_s=read,
        copy_bytes_per_s=copy,
        triad_bytes_per_s=triad,
        fp32_ops_per_s=fp32,
        half_ops_per_s=half,
        int8_ops_per_s=int8,
        libraries=", ".join(libraries),
        date=datetime.now(UTC).date().isoformat(),
    )


def _array_bytes(host: Host, effort: Effort) -> int:
    """Bytes of all arrays of a pass together: beyond the caches, and at most a quarter of what is free."""
    wanted = _TIMES_CACHE * max([size for _, size in host.caches], default=0)
    size = effort.array_bytes or min(max(wanted, _MIN_ARRAY_BYTES * host.cores), _MAX_ARRAY_BYTES)
    if size > host.free_bytes // 4:
        raise UsageError(
            f"memory is too small to measure: {size:,} B of arrays, {host.free_bytes:,} B are free",
            hint="end other programs",
        )
    return size


def _bandwidths(cores: int, size: int, repeats: int) -> tuple[float, float, float]:
    """Bytes a second of reading, of copying (read and written), and of `a = b + 3 c` (two and one)."""
    half = max(size // 16 // cores, 4 * _BLOCK_WORDS)  # words of one of a thread's two arrays
    half -= half % 2
    with ThreadPoolExecutor(cores) as pool:
        # Made by the threads, so that each array lies in the memory near its core.
        pairs = list(pool.map(_pair, [half] * cores))
        array_bytes = 8 * half * cores

        def best(task: Callable[[tuple[_Words, _Words]], None]) -> float:
            return min(_timed(lambda: list(pool.map(task, pairs))) for _ in range(repeats))

        read = 2 * array_bytes / best(_read)
        copied = 2 * array_bytes / best(_copy)
        triad = 3 * (array_bytes / 2) / best(_triad)
    return read, copied, triad


def _pair(n_words: int) -> tuple[_Words, _Words]:
    return np.ones(n_words), np.full(n_words, 2.0)


def _read(pair: tuple[_Words, _Words]) -> None:
    for array in pair:
        np.bitwise_or.reduce(array.view(np.uint64))  # the lightest sum: only loads set its pace


def _copy(pair: tuple[_Words, _Words]) -> None:
    np.copyto(pair[1], pair[0])


def _triad(pair: tuple[_Words, _Words]) -> None:
    """The second half of the first array from its first half and the second array, block by block."""
    first, second = pair
    n_words = len(first) // 2
    temporary = np.empty(_BLOCK_WORDS)
    for start in range(0, n_words, _BLOCK_WORDS):
        stop = min(start + _BLOCK_WORDS, n_words)
        scaled = temporary[: stop - start]
        np.multiply(first[start:stop], 3.0, out=scaled)
        np.add(scaled, second[start:stop], out=first[n_words + start : n_words + stop])


def _timed(task: Callable[[], object]) -> float:
    start = time.perf_counter()
    task()
    return time.perf_counter() - start


def _rate(product: Callable[[int], Callable[[], object]], effort: Effort) -> float | None:
    """Best op/s of square products of `effort.dim` rows; None where a small one says: emulated."""
    small = min(_FIRST_TRY_DIM, effort.dim)
    trial = product(small)
    trial()  # the first call makes the library ready
    if _timed(trial) > _MAX_TRY_S:
        return None
    multiply = product(effort.dim)
    multiply()
    return 2 * effort.dim**3 / min(_timed(multiply) for _ in range(effort.repeats))


def _numpy_rate(effort: Effort) -> float:
    def product(dim: int) -> Callable[[], object]:
        matrix = np.full((dim, dim), 0.5, dtype=np.float32)
        out = np.empty_like(matrix)
        return lambda: np.matmul(matrix, matrix, out=out)

    multiply = product(effort.dim)
    multiply()
    return 2 * effort.dim**3 / min(_timed(multiply) for _ in range(effort.repeats))


def _torch_rates(effort: Effort) -> tuple[float | None, float | None, str]:
    """Rates in bf16 and int8, and the version of torch; all nothing where it is not installed."""
    try:
        import torch  # an extra, and slow to import
    except (ImportError, OSError):  # not there, or without a library that it needs
        return None, None, ""

    def half(dim: int) -> Callable[[], object]:
        matrix = torch.full((dim, dim), 0.5, dtype=torch.bfloat16)
        return lambda: torch.mm(matrix, matrix)

    def int8(dim: int) -> Callable[[], object]:
        matrix = torch.ones((dim, dim), dtype=torch.int8)
        return lambda: torch._int_mm(matrix, matrix)

    try:
        int8_rate = _rate(int8, effort)
    except (AttributeError, RuntimeError, NotImplementedError):  # no public name for it yet
        int8_rate = None
    return _rate(half, effort), int8_rate, str(torch.__version__)
