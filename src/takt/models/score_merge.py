"""The tokenizer of llama2.c and of llama GGUF files: merge the best-scored pair until none is left.

A vocabulary of byte strings with scores; text starts as characters (bytes where a character has no entry)
and the adjacent pair whose union has the highest score merges first, the leftmost of equals. This is
`encode` of llama2.c's run.c, with a heap where run.c rescans. Does not know files beyond its own `.bin`.
"""

import heapq
import re
import struct
from collections.abc import Sequence
from pathlib import Path

from takt.errors import DataError

from .files import read_bytes
from .tokenizer import TextStream

MAX_FILE_BYTES = 64 << 20
_BYTE_PIECE = re.compile(rb"<0x([0-9A-Fa-f]{2})>")
_WORST_SCORE = -1e10  # run.c merges only pairs that score better than this


class ScoreMergeTokenizer:
    """`pieces[id]` is the text of an id in UTF-8 (a space is a space), `scores[id]` its merge score.

    `special` ids are never made from text and print nothing. `bos_id` and `eos_id` are among them.
    """

    __slots__ = (
        "_adds_bos",
        "_byte_ids",
        "_ids",
        "_space_prefix",
        "_special",
        "_spellings",
        "_unknown_id",
        "bos_id",
        "eos_id",
        "pieces",
        "scores",
    )

    def __init__(
        self,
        *,
        pieces: Sequence[bytes],
        scores: Sequence[float],
        bos_id: int = 1,
        eos_id: int = 2,
        unknown_id: int = 0,
        special: frozenset[int] = frozenset(),
        space_prefix: bool = True,
        adds_bos: bool = True,
    ) -> None:
        self.bos_id = bos_id
        self.eos_id = eos_id
        self._unknown_id = unknown_id
        self._special = special | {bos_id, eos_id}
        self._space_prefix = space_prefix
        self._adds_bos = adds_bos
        self.scores = tuple(scores)
        self._byte_ids: dict[int, int] = {}
        self._ids: dict[bytes, int] = {}
        texts: list[bytes] = []
        for token_id, piece in enumerate(pieces):
            match = _BYTE_PIECE.fullmatch(piece)
            if match:
                self._byte_ids.setdefault(int(match[1], 16), token_id)
            elif token_id not in self._special:
                self._ids.setdefault(piece, token_id)
            texts.append(bytes([int(match[1], 16)]) if match else piece)
        self.pieces = tuple(texts)
        self._spellings = tuple(pieces)

    @property
    def vocab_size(self) -> int:
        """Number of pieces."""
        return len(self.pieces)

    def encode(self, text: str, bos: bool = True) -> list[int]:
        """Ids of `text`, with the dummy space in front; `bos` puts the begin id before them."""
        head = [self.bos_id] if bos and self._adds_bos else []
        if not text:
            return head
        ids = self._characters(" " + text if self._space_prefix else text)
        return head + self._merge(ids)

    def decode(self, ids: Sequence[int]) -> str:
        """Text of `ids`; the dummy space goes where the begin id stands before it."""
        parts = []
        previous = -1
        for token_id in ids:
            if 0 <= token_id < len(self.pieces) and token_id not in self._special:
                piece = self.pieces[token_id]
                parts.append(piece[1:] if previous == self.bos_id and piece[:1] == b" " else piece)
            previous = token_id
        return b"".join(parts).decode("utf-8", errors="replace")

    def stream(self, after: Sequence[int] = ()) -> TextStream:
        """A decoder for the ids that follow `after`."""
        return TextStream(self, after)

    def _characters(self, text: str) -> list[int]:
        ids: list[int] = []
        for character in text:
            raw = character.encode("utf-8", errors="replace")
            token_id = self._ids.get(raw)
            if token_id is not None:
                ids.append(token_id)
            else:
                ids.extend(self._byte_ids.get(byte, self._unknown_id) for byte in raw)
        return ids

    def _union(self, left: int, right: int) -> int | None:
        # run.c joins spellings, so a byte piece takes part as "<0x0A>", never as its byte.
        token_id = self._ids.get(self._spellings[left] + self._spellings[right])
        # A NaN score compares false and so never merges, as in run.c.
        return token_id if token_id is not None and self.scores[token_id] > _WORST_SCORE else None

    def _merge(self, ids: list[int]) -> list[int]:
        """Best pair first, leftmost of equals, on a linked list: the result of run.c's rescans."""
        after = [*range(1, len(ids)), -1]
        before = list(range(-1, len(ids) - 1))
        heap: list[tuple[float, int, int, int, int]] = []

        def offer(left: int, right: int) -> None:
            union = self._union(ids[left], ids[right])
            if union is not None:
                heapq.heappush(heap, (-self.scores[union], left, ids[left], ids[right], union))

        for left in range(len(ids) - 1):
            offer(left, left + 1)
        while heap:
            _, left, left_id, right_id, union = heapq.heappop(heap)
            right = after[left]
            if ids[left] != left_id or right < 0 or ids[right] != right_id:
                continue  # one of the two has merged elsewhere since
            ids[left], ids[right] = union, -1
            after[left] = after[right]
            if after[right] >= 0:
                before[after[right]] = left
                offer(left, after[right])
            if before[left] >= 0:
                offer(before[left], left)
        return [token_id for token_id in ids if token_id >= 0]


def load_llama2c_tokenizer(path: Path, vocab_size: int) -> ScoreMergeTokenizer:
    """llama2.c's tokenizer file: int32 longest piece, then float32 score, int32 length, bytes per id.

    `vocab_size` comes from the checkpoint, the file does not state it. DataError unless it ends right there.
    """
    data = read_bytes(path, MAX_FILE_BYTES)
    pieces: list[bytes] = []
    scores: list[float] = []
    at = 4
    for _ in range(vocab_size):
        if at + 8 > len(data):
            raise _bad_vocabulary(path, vocab_size, len(pieces))
        score, length = struct.unpack_from("<fi", data, at)
        at += 8
        if length < 0 or at + length > len(data):
            raise _bad_vocabulary(path, vocab_size, len(pieces))
        pieces.append(data[at : at + length])
        scores.append(score)
        at += length
    if at != len(data):
        raise DataError(
            "tokenizer has more pieces than the model",
            file=str(path),
            expected=f"{vocab_size} pieces",
        )
    return ScoreMergeTokenizer(pieces=pieces, scores=scores)


def _bad_vocabulary(path: Path, vocab_size: int, n_read: int) -> DataError:
    return DataError(
        "tokenizer ends too early or is damaged",
        file=str(path),
        expected=f"{vocab_size} pieces",
        found=f"{n_read} whole ones",
    )
