"""Where the problems of files are noted while reading goes on, and how a wrong value is described.

Knows nothing of chips. A report is one list shared by all files of a run, seen by each file under
its own name; only its readers append to it.
"""

from takt.errors import Problem

__all__ = ["Report", "describe"]

_TYPE_NAMES = {bool: "a boolean", list: "an array", dict: "a table"}


def describe(value: object) -> str:
    """What was found, short enough to print whatever a stranger's file holds."""
    if isinstance(value, str):
        return repr(value if len(value) <= 40 else value[:37] + "...")
    if isinstance(value, int) and not isinstance(value, bool):
        # Python refuses to write very long integers, and nobody wants to read them.
        return str(value) if abs(value) < 10**20 else f"an integer of {value.bit_length()} bits"
    if isinstance(value, float):
        return repr(value)
    return _TYPE_NAMES.get(type(value), f"a {type(value).__name__}")


class Report:
    """The problems of one run of reading, from the point of view of ``file``."""

    __slots__ = ("file", "problems")

    def __init__(self, file: str = "", problems: list[Problem] | None = None) -> None:
        self.file = file
        self.problems = problems if problems is not None else []

    def about(self, file: str) -> "Report":
        """The same list, for notes about another file."""
        return Report(file, self.problems)

    def note(self, key: str, expected: str, found: str, hint: str | None = None) -> None:
        """Add one problem at dotted ``key``; empty for the file as a whole."""
        self.problems.append(
            Problem(file=self.file, key=key[:80], expected=expected, found=found, hint=hint)
        )

    def count(self) -> int:
        """Problems so far, of all files: compare before and after to see whether any came up."""
        return len(self.problems)

    def all(self) -> tuple[Problem, ...]:
        """Every problem once, in order: two files with one broken base report it once."""
        return tuple(dict.fromkeys(self.problems))
