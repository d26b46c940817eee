from collections.abc import Callable

from numpy.typing import NDArray

def run(
    fleet: bytes,
    pools: tuple[tuple[bytes, bytes], ...],
    tiers: bytes,
    failures: bytes,
    seed: int,
    source: Callable[[], NDArray[object] | None],
    finished: Callable[[bytes], None],
    events: Callable[[bytes], None] | None,
) -> tuple[bytes, int, int, int, int, int, int]: ...
