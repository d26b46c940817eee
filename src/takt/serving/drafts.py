"""Which drafted tokens hold: drawn from the seed, the request and its place in the answer, whatever is simulated when.

Integer arithmetic only, the same in both engines. Knows no time.
"""

__all__ = ["accepted", "thresholds"]

_MASK = (1 << 64) - 1
_BITS = 53


def thresholds(draft_tokens: int, acceptance: float) -> list[int]:
    """For each drafted token: 2⁵³ × the probability that it and all before it hold."""
    return [int(acceptance**i * (1 << _BITS)) for i in range(1, draft_tokens + 1)]


def accepted(limits: list[int], seed: int, request: int, generated: int) -> int:
    """How many of the drafted tokens hold after `generated` tokens of a request's answer."""
    drawn = _mixed(seed, request, generated) >> (64 - _BITS)
    return sum(drawn < limit for limit in limits)


def _mixed(seed: int, request: int, generated: int) -> int:
    """64 bits of three numbers: SplitMix64's finaliser (Steele, Lea and Flood 2014), once for each number."""
    x = 0
    for part in (seed, request, generated):
        x = (x + part + 0x9E3779B97F4A7C15) & _MASK
        x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
        x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & _MASK
        x ^= x >> 31
    return x
