from collections.abc import Callable

from numpy import generic
from numpy.typing import NDArray

def run(
    fleet: bytes,
    pools: tuple[tuple[bytes, bytes], ...],
    tiers: bytes,
    failures: bytes,
    seed: int,
    source: Callable[[], NDArray[generic] | None],
    finished: Callable[[bytes], None],
    events: Callable[[bytes], None] | None,
) -> tuple[bytes, int, int, int, int, int, int]: ...
