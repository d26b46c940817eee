"""Names of chips as people and measurement files spell them: which chip is meant.

    "NVIDIA H100-SXM5-80GB x8"  →  h100-sxm, by its words h100 and sxm

A spelling becomes a set of words: without case, punctuation, vendors, counts and kinds of memory. A
text means the chip that has a spelling whose words all stand in it, and of these the one that tells
most: by words with a digit, then by variants (PCIe, Max), sizes of memory, and letters. So "H100" is
not found in "H1000", and "M4 Max" is not "M4". A host is meant only where nothing else is: "MI325X
with two EPYC 9755" is the former.

Knows texts only.
"""

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

__all__ = ["Spellings", "words_of"]

_MAX_CHARS = 400
# Say who makes it or what it is, not which one it is.
_FILLERS = frozenset(
    (
        *(
            "nvidia",
            "amd",
            "intel",
            "google",
            "aws",
            "amazon",
            "cloud",
            "corporation",
            "inc",
            "r",
            "tm",
        ),
        *("instinct", "tesla", "geforce", "radeon", "core", "processor", "generation", "with"),
        *("gpu", "gpus", "tpus", "accelerator", "accelerators", "chip", "chips", "card", "cards"),
        *("server", "node", "system", "hgx", "dgx", "board", "oam"),
        *("hbm", "hbm2", "hbm2e", "hbm3", "hbm3e", "gddr6", "gddr6x", "gddr7"),
    )
)
# Say which of several that share a name.
_VARIANTS = frozenset(("sxm", "pcie", "nvl", "pro", "max", "ultra", "ti", "super", "ada"))
_COUNT_BEFORE = re.compile(  # 8x H100, 8xH100, 8 x H100
    r"(?<![a-z0-9.])\d{1,3}(?:[x×] ?| [x×] )(?=[a-z])"
)
_COUNT_AFTER = re.compile(  # H100 x 8, H100x8, L40Sx8, H100 (8), but not MI300X 192GB nor TX2
    r"(?<![a-z0-9])[x×] ?\d{1,3}(?![a-z0-9])|(?:(?<=\d)|(?<=\d[a-z]))[x×]\d{1,3}(?![a-z0-9])"
    r"|\( ?\d+ ?\)"
)
_SIZE = re.compile(r"(\d+) ?(?:gb|gib|g)(?:x\d+)?(?![a-z0-9])")  # 80 GB, 80GiB, 80g, 80GBx8
_FORM = re.compile(r"(?<=[0-9])(?=(?:sxm|pcie|nvl)\d*(?![a-z]))")  # h100sxm5
_SOCKET = re.compile(r"(?<![a-z0-9])sxm\d(?![a-z0-9])")  # sxm5
_SERIES = re.compile(r"(?<![a-z])(rtx|gtx|xeon|epyc|ryzen|tpu)(?=[0-9v])")  # rtx4090, tpuv5e
_WORD = re.compile(r"[a-z0-9]+")


def words_of(text: str) -> frozenset[str]:
    """The words that tell which chip ``text`` names; empty where it names none."""
    text = text[:_MAX_CHARS].casefold().replace("_", " ")
    text = _COUNT_AFTER.sub(" ", _COUNT_BEFORE.sub(" ", text))
    text = _SIZE.sub(r" \1gb ", text)
    text = _SOCKET.sub(" sxm ", _FORM.sub(" ", _SERIES.sub(r"\1 ", text)))
    return frozenset(_WORD.findall(text)) - _FILLERS


@dataclass(frozen=True, slots=True)
class Spellings:
    """Which id each set of words belongs to, in the order of search; `names`: all, as written."""

    rows: tuple[tuple[frozenset[str], str], ...]
    names: tuple[str, ...]

    @classmethod
    def of(cls, spellings: Mapping[str, Iterable[str]], hosts: Collection[str] = ()) -> "Spellings":
        """Of each id and its aliases; `hosts` are ids that come last. An id beats another's alias."""
        by_words: dict[frozenset[str], str] = {words_of(name): name for name in spellings}
        names = list(spellings)
        for name, aliases in spellings.items():
            for alias in aliases:
                names.append(alias)
                by_words.setdefault(words_of(alias), name)
        by_words.pop(frozenset(), None)
        rows = sorted(by_words.items(), key=lambda row: (row[1] in hosts, *_rank(*row)))
        return cls(tuple(rows), tuple(names))

    def exact(self, text: str) -> str | None:
        """The id that ``text`` spells, with no word too many."""
        words = words_of(text)
        return next((name for row, name in self.rows if row == words), None)

    def inside(self, text: str) -> str | None:
        """The id whose spelling stands in ``text``, with the most words of those that do."""
        words = words_of(text)
        return next((name for row, name in self.rows if row <= words), None)


def _rank(words: frozenset[str], name: str) -> tuple[int, int, int, int, str, list[str]]:
    """Least for what tells most; in the end by name, so that the order is always the same."""
    n_numbered = sum(any(map(str.isdigit, word)) for word in words)
    n_sizes = sum(_SIZE.fullmatch(word) is not None for word in words)
    letters = sum(map(len, words))
    return n_sizes - n_numbered, -len(words & _VARIANTS), -n_sizes, -letters, name, sorted(words)
