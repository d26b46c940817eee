"""A command line as words, some of which hold variables: for a shell, and for a container.

A variable is written `${NAME}` or `${NAME[3]}`; no other word has a dollar sign. Knows no tools.
"""

import re
import shlex
from dataclasses import dataclass

from takt.errors import UsageError

__all__ = ["VARIABLE", "Command"]

VARIABLE = re.compile(r"\$\{([A-Z][A-Z0-9_]*)(\[\d+\])?\}")
_WIDTH = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """A program with its words; `environment`: names and values that it needs beside them."""

    words: tuple[str, ...]
    environment: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        for word in (*self.words, *(value for _, value in self.environment)):
            if "$" in VARIABLE.sub("", word) or "\n" in word or "\0" in word:
                raise UsageError(f"a word of a command can't hold {word!r}")

    @property
    def variables(self) -> tuple[str, ...]:
        """Names of the variables it uses, in the order of their first use."""
        words = (*self.words, *(value for _, value in self.environment))
        found = (match[1] for word in words for match in VARIABLE.finditer(word))
        return tuple(dict.fromkeys(found))

    def shell(self, indent: str = "") -> str:
        """For a shell: one option a line, quoted."""
        start = [f"{name}={_quoted(value)}" for name, value in self.environment]
        lines = [" ".join(start)] if start else []
        line = ""
        for word in map(_quoted, self.words):
            if line and (word.startswith("--") or len(line) + len(word) > _WIDTH):
                lines.append(line)
                line = word
            else:
                line = f"{line} {word}" if line else word
        lines.append(line)
        return f" \\\n{indent}  ".join(lines)

    def container(self) -> list[str]:
        """For Kubernetes, which puts in variables of the container written `$(NAME)`."""
        return [VARIABLE.sub(lambda match: f"$({match[1]})", word) for word in self.words]


def _quoted(word: str) -> str:
    """The word for a shell; variables stay variables, in double quotes."""
    if not VARIABLE.search(word):
        return shlex.quote(word)
    plain = VARIABLE.sub("", word)
    escaped = word if not re.search(r'["`\\!]', plain) else re.sub(r'(["`\\])', r"\\\1", word)
    return f'"{escaped}"'
