"""Text to token ids and back: the protocol, the `tokenizers` library behind it, and streaming.

`LibraryTokenizer` wraps a `tokenizer.json`; the score-merge tokenizer of llama2.c and GGUF lives in
`score_merge`. `TextStream` turns ids into text one at a time without ever emitting half a character.
Knows nothing of models; a tokenizer may well be used without one.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import tokenizers

from takt.errors import DataError, TaktError

from .files import read_bytes

MAX_TOKENIZER_BYTES = 256 << 20
REPLACEMENT = "\ufffd"
# A character is at most four bytes, so after this many ids without one the bytes are simply not UTF-8.
_MAX_HELD_IDS = 8


class Tokenizer(Protocol):
    """What takt asks of a tokenizer. Ids are below `vocab_size`."""

    @property
    def vocab_size(self) -> int:
        """Number of ids, special ones included."""
        ...

    def encode(self, text: str, bos: bool = True) -> list[int]:
        """Ids of `text`; with `bos` also the special ids that the checkpoint's tokenizer puts around it."""
        ...

    def decode(self, ids: Sequence[int]) -> str:
        """Text of `ids` without special ids; bytes that are no UTF-8 become U+FFFD."""
        ...

    def stream(self, after: Sequence[int] = ()) -> "TextStream":
        """A decoder for ids that follow `after` (usually the prompt), one at a time."""
        ...


# Reads a tokenizer once the vocabulary size of the model is known (some files do not state theirs).
TokenizerReader = Callable[[int], Tokenizer]


class TextStream:
    """Text of a growing list of ids: the pieces of `push` and the last `flush` join to the whole.

    Text is held back while it ends inside a character. Work per id does not grow with the list.
    """

    __slots__ = ("_done", "_ids", "_shown", "_tokenizer")

    def __init__(self, tokenizer: Tokenizer, after: Sequence[int] = ()) -> None:
        self._tokenizer = tokenizer
        # Some context is kept in front: the first id decodes differently at the start of a text.
        self._ids = list(after[-_MAX_HELD_IDS:])
        self._done = len(self._ids)
        self._shown = tokenizer.decode(self._ids) if self._ids else ""

    def push(self, token_id: int) -> str:
        """The text that `token_id` completes; empty while a character is open."""
        self._ids.append(token_id)
        text = self._tokenizer.decode(self._ids)
        held = len(self._ids) - self._done
        if text.endswith(REPLACEMENT) and held < _MAX_HELD_IDS:
            return ""
        return self._emit(text)

    def flush(self) -> str:
        """What was held back, as it is."""
        return self._emit(self._tokenizer.decode(self._ids)) if self._done < len(self._ids) else ""

    def _emit(self, text: str) -> str:
        new = text[len(self._shown) :]
        self._ids = self._ids[self._done :] if self._done else self._ids
        self._done = len(self._ids)
        self._shown = self._tokenizer.decode(self._ids)
        return new


@contextmanager
def library_errors(what: str, file: Path | None = None) -> Iterator[None]:
    """Whatever the `tokenizers` library raises within, as a DataError about `what`.

    It raises bare Exception for bad files and bad texts, and where its Rust side panics a class that derives
    from BaseException and has no importable name.
    """
    try:
        yield
    except (TaktError, KeyboardInterrupt, SystemExit, GeneratorExit):
        raise
    except BaseException as error:
        raise DataError(f"{what}: {error}", file=str(file) if file else None) from error


class LibraryTokenizer:
    """A tokenizer of the `tokenizers` library, as it stands in a `tokenizer.json`.

    Raises DataError where the tokenizer, damaged in a way that loading does not show, fails on a text.
    """

    __slots__ = ("_inner",)

    def __init__(self, inner: tokenizers.Tokenizer) -> None:
        # Files of sentence encoders ask for padding to a fixed length, which is a batch's business.
        inner.no_padding()
        inner.no_truncation()
        self._inner = inner

    @property
    def vocab_size(self) -> int:
        """Number of ids, added ones included."""
        return self._inner.get_vocab_size(with_added_tokens=True)

    def encode(self, text: str, bos: bool = True) -> list[int]:
        """Ids of `text`; with `bos`, what the file's post-processor adds too (often nothing)."""
        with library_errors("the tokenizer fails on this text"):
            return list(self._inner.encode(text, add_special_tokens=bos).ids)

    def decode(self, ids: Sequence[int]) -> str:
        """Text of `ids`, special ids left out."""
        with library_errors("the tokenizer fails on these ids"):
            return str(self._inner.decode(list(ids), skip_special_tokens=True))

    def stream(self, after: Sequence[int] = ()) -> TextStream:
        """A decoder for the ids that follow `after`."""
        return TextStream(self, after)


def load_tokenizer_json(path: Path) -> LibraryTokenizer:
    """The tokenizer in a `tokenizer.json`. DataError where the file is not one."""
    data = read_bytes(path, MAX_TOKENIZER_BYTES)
    with library_errors("not a tokenizer.json", path):
        return LibraryTokenizer(tokenizers.Tokenizer.from_buffer(data))
