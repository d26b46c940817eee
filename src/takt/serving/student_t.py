"""How wide a confidence interval is: quantiles of Student's t distribution.

Up to 30 degrees of freedom from the published table, to three decimals; beyond, the expansion about the normal distribution,
which is within 0.0005 of them there and ends at 1.960.

- Table: NIST/SEMATECH e-Handbook of Statistical Methods, 1.3.6.7.2, upper critical values, column 0.975.
- Expansion: Abramowitz and Stegun, Handbook of Mathematical Functions, 26.7.5.
"""

from math import sqrt

from takt.errors import UsageError

__all__ = ["half_width_95", "t_quantile_975"]

_TABLE = (
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228,
    2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086,
    2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042,
)  # fmt: skip
_NORMAL_975 = 1.959964


def t_quantile_975(degrees: int) -> float:
    """The value that t with so many degrees of freedom stays below with probability 0.975."""
    if degrees < 1:
        raise UsageError("an interval needs at least two values")
    if degrees <= len(_TABLE):
        return _TABLE[degrees - 1]
    z = _NORMAL_975
    first = (z**3 + z) / (4 * degrees)
    return z + first + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * degrees**2)


def half_width_95(values: list[float]) -> float | None:
    """Half the width of the 95 % confidence interval of the mean of independent values; None for fewer than two."""
    n = len(values)
    if n < 2:
        return None
    mean = sum(values) / n
    variance = sum((value - mean) ** 2 for value in values) / (n - 1)
    return t_quantile_975(n - 1) * sqrt(variance / n)
