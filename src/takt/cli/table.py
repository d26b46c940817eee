"""Plain aligned tables: the same bytes on every terminal, in every pipe."""

from collections.abc import Sequence

__all__ = ["aligned"]


def aligned(rows: Sequence[Sequence[str]], right: Sequence[int] = ()) -> str:
    """``rows`` in columns two spaces apart, columns numbered in ``right`` flush right.

    The last column is never padded, so that no line ends in spaces. Rows must be equally long.
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = [
            text.rjust(width) if index in right else text.ljust(width)
            for index, (text, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip() + "\n")
    return "".join(lines)
