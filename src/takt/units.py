"""The one place that converts between cycles and time, and that writes sizes for people.

Time and size are integers elsewhere, with the unit in the name. A conversion rounds up: a schedule
that ends within a nanosecond has used it. Formatting is for reports only; nothing reads it back.
"""

from takt.errors import UsageError

__all__ = [
    "cycles_to_ns",
    "cycles_to_s",
    "format_bytes",
    "format_si",
    "ns_to_cycles",
]

NS_PER_S = 1_000_000_000

_SI_UP = ("", "k", "M", "G", "T", "P", "E")
_SI_DOWN = ("", "m", "µ", "n", "p", "f", "a")
_BINARY = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")


def cycles_to_ns(cycles: int, clock_hz: int) -> int:
    """Whole nanoseconds that ``cycles`` take at ``clock_hz``, rounded up."""
    return _scaled(cycles, NS_PER_S, clock_hz, clock_hz)


def ns_to_cycles(ns: int, clock_hz: int) -> int:
    """Whole cycles that cover ``ns`` at ``clock_hz``, rounded up."""
    return _scaled(ns, clock_hz, NS_PER_S, clock_hz)


def cycles_to_s(cycles: int, clock_hz: int) -> float:
    """Seconds as a float: for reports and rates, never for scheduling."""
    if clock_hz <= 0:
        raise UsageError(f"a clock of {clock_hz} Hz has no cycles")
    return cycles / clock_hz


def _scaled(amount: int, numerator: int, denominator: int, clock_hz: int) -> int:
    if clock_hz <= 0:
        raise UsageError(f"a clock of {clock_hz} Hz has no cycles")
    return -(-amount * numerator // denominator)


def format_bytes(size_bytes: int) -> str:
    """``size_bytes`` in binary units with three significant digits: ``220 MiB``."""
    scaled = float(size_bytes)
    for unit in _BINARY:
        if abs(scaled) < 1024 or unit == _BINARY[-1]:
            return f"{_digits(scaled)} {unit}"
        scaled /= 1024
    raise AssertionError("the loop returns at the last unit")


def format_si(amount: float, unit: str) -> str:
    """``amount`` with a decimal prefix and three significant digits: ``1.5 GHz``, ``270 fJ``."""
    # Rounded first, so that 999.7 becomes 1 k instead of 1000.
    scaled, step = float(f"{amount:.3g}"), 0
    while abs(scaled) >= 1000 and step < len(_SI_UP) - 1:
        scaled, step = scaled / 1000, step + 1
    if step:
        return f"{_digits(scaled)} {_SI_UP[step]}{unit}"
    while 0 < abs(scaled) < 1 and step < len(_SI_DOWN) - 1:
        scaled, step = scaled * 1000, step + 1
    return f"{_digits(scaled)} {_SI_DOWN[step]}{unit}"


def _digits(number: float) -> str:
    if abs(number) >= 100:
        return f"{number:.0f}"
    return f"{number:.3g}"
