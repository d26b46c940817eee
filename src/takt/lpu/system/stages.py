"""A model as a line of stages: which group of chips holds which pieces, and what still fits beside them.

Pieces come in the order in which a token meets them. Each stage takes as many as fit; for throughput the stages are as
even as the pieces allow. Where whole feed-forwards leave chips half empty they are cut into parts: parts of one
feed-forward may lie on neighbouring stages.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from takt.errors import CapacityError
from takt.lpu.system.place import WORK_WORDS, Region, n_experts
from takt.lpu.system.programs import Kind, Library
from takt.models import ModelShape

PARTS = (1, 2, 3, 4, 5, 6, 8)
"""Ways to cut a feed-forward that are tried."""

_MOST_PARTS = 32  # of the experts of a layer


class TooLarge(CapacityError):
    """A model does not fit; `chips` would do, 0 if no number would."""

    def __init__(self, message: str, *, chips: int = 0, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.chips = chips


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """The least that a stage takes. `layer` is −1 outside the layers; `words` of every weight slice, users' caches included."""

    kind: Kind
    layer: int
    words: int
    work_words: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Slot:
    """Pieces of a stage that run as one program, and where its regions lie on each chip: (weight word, work word)."""

    kind: Kind
    layer: int
    bases: dict[str, tuple[int, int]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """What one group of chips does for each token, in order; `words` of every weight slice are taken, of `capacity`."""

    slots: tuple[Slot, ...]
    words: int
    capacity: int


def cut_into_stages(
    library: Library, n_stages: int, users: int, *, even: bool
) -> tuple[Stage, ...]:
    """At most `n_stages` stages that hold the model and `users` caches: as few as possible, or (`even`) all, evenly.

    Raises CapacityError that says what would fit.
    """
    best: list[list[Piece]] | None = None
    fewest = 0
    for n_parts in PARTS:
        if n_parts > 1 and n_parts > len(library.cut.shard(0).ffn):
            break
        try:
            pieces = _pieces(library, n_parts, users)
        except CapacityError:  # a piece alone is larger than a chip
            continue
        limit = library.capacity
        stages = _fill(pieces, limit)
        if even and stages is not None and len(stages) <= n_stages:
            stages = _even(pieces, limit, n_stages)
        if stages is None:
            continue
        fewest = min(fewest, len(stages)) if fewest else len(stages)
        if len(stages) <= n_stages and (best is None or len(stages) < len(best)):
            best = stages
    if best is None:
        raise _too_large(library, n_stages, users, fewest)
    return tuple(_stage(library, pieces, users) for pieces in best)


def _too_large(library: Library, n_stages: int, users: int, fewest: int) -> TooLarge:
    cut = library.cut
    n = cut.n
    name = f"{cut.shape.name} in groups of {n} chip{'s' * (n > 1)}"
    if not fewest:
        return TooLarge(
            f"{name}: a piece of a layer is larger than a chip",
            hint="try larger groups, a shorter context, fewer users, or int8 weights",
        )
    return TooLarge(
        f"{name} needs {fewest * n} chips for {users} user{'s' * (users != 1)} with context "
        f"{cut.context:,}; there are {n_stages * n}",
        chips=fewest * n,
        hint=f"try --chips {fewest * n}, a shorter context, fewer users, or int8 weights",
    )


# ------------------------------------------------------------------------------------------------------------- pieces
def _pieces(library: Library, n_parts: int, users: int) -> list[Piece]:
    shape, limit = library.cut.shape, library.capacity
    out = _tables(library, limit)
    for layer in range(shape.n_layers):
        window = shape.windows[layer] or 0
        attention = Kind(attention=True, window=window)
        regions = library.regions(attention)
        words = regions["attention"].words + users * regions["cache"].words
        out.append(
            Piece(
                kind=attention,
                layer=layer,
                words=words,
                work_words=regions["attention"].work_words,
            )
        )
        mixture = shape.has_experts(layer)
        of = _expert_parts(shape) if mixture else n_parts
        for part in range(of):
            kind = Kind(ffn=(part, 1, of), experts=mixture)
            region = library.regions(kind)["ffn"]
            out.append(
                Piece(kind=kind, layer=layer, words=region.words, work_words=region.work_words)
            )
    return out + _heads(library, limit)


def _expert_parts(shape: ModelShape) -> int:
    """Into how many equal parts the experts of a layer are cut: the pieces that stages are filled with.

    Parts in one stage are one program with one set of slots; parts in several stages have as many slots each as a token
    has experts, since all of them might lie there.
    """
    count = n_experts(shape)
    return max(of for of in range(1, min(_MOST_PARTS, count) + 1) if count % of == 0)


def _tables(library: Library, limit: int) -> list[Piece]:
    """The embedding, in as many parts as it takes."""
    for of in (1, 2, 4, 8, 16):
        pieces = []
        try:
            for part in range(of):
                kind = Kind(embed=(part, 1, of))
                words = library.table_words(kind)
                pieces.append(Piece(kind=kind, layer=-1, words=words, work_words=0))
        except CapacityError:
            continue
        if max(p.words for p in pieces) <= limit:
            return pieces
    raise CapacityError(f"the embedding of {library.cut.shape.name} does not fit")


def _heads(library: Library, limit: int) -> list[Piece]:
    """The matrix of the logits, in as many parts as it takes."""
    for of in (1, 2, 4, 8, 16):
        try:
            kinds = [Kind(head=(part, 1, of)) for part in range(of)]
            regions = [library.regions(kind)["head"] for kind in kinds]
        except CapacityError:
            continue
        if max(r.words for r in regions) <= limit:
            return [
                Piece(kind=k, layer=-1, words=r.words, work_words=r.work_words)
                for k, r in zip(kinds, regions, strict=True)
            ]
    raise CapacityError(f"the logits of {library.cut.shape.name} do not fit")


def _fill(pieces: Sequence[Piece], limit: int) -> list[list[Piece]] | None:
    """As few stages as possible, in order; of equals, with the fewest layers torn apart. None if a piece is too large."""
    best: list[tuple[int, int, int]] = [
        (0, 0, 0)
    ]  # of the first i pieces: stages, torn layers, start of the last stage
    for end in range(1, len(pieces) + 1):
        words = work = 0
        found: tuple[int, int, int] | None = None
        for start in range(end - 1, -1, -1):
            words += pieces[start].words
            work += pieces[start].work_words
            if words > limit or work > WORK_WORDS:
                break
            stages, torn, _ = best[start]
            layer = pieces[start].layer
            tears = start > 0 and layer >= 0 and pieces[start - 1].layer == layer
            option = (stages + 1, torn + tears, start)
            found = option if found is None else min(found, option)
        if found is None:
            return None
        best.append(found)
    out: list[list[Piece]] = []
    end = len(pieces)
    while end:
        start = best[end][2]
        out.insert(0, list(pieces[start:end]))
        end = start
    return out


def _even(pieces: Sequence[Piece], limit: int, n_stages: int) -> list[list[Piece]] | None:
    """Stages whose fullest is as empty as possible, at most `n_stages`."""
    low, high = max(p.words for p in pieces), limit
    while low < high:
        middle = (low + high) // 2
        stages = _fill(pieces, middle)
        if stages is not None and len(stages) <= n_stages:
            high = middle
        else:
            low = middle + 1
    return _fill(pieces, high)


# ------------------------------------------------------------------------------------------------------------- stages
def _stage(library: Library, pieces: Sequence[Piece], users: int) -> Stage:
    """Merge pieces into programs and give each its place, from the common part of every program upward."""
    slots: list[Slot] = []
    first = _first(library)
    at, work = first
    for kind, layer in _merged(pieces):
        bases = {}
        for name, region in library.regions(kind).items():
            bases[name] = (at, work)
            at += region.words * (users if name == "cache" else 1)
            work += region.work_words
        slots.append(Slot(kind=kind, layer=layer, bases=bases))
    words = sum(p.words for p in pieces)
    return Stage(slots=tuple(slots), words=words, capacity=library.capacity)


def _first(library: Library) -> tuple[int, int]:
    """Where the first region of every program lies."""
    region: Region = library.regions(
        Kind(attention=True, window=library.cut.shape.windows[0] or 0)
    )["attention"]
    return region.first, region.work_first


def _merged(pieces: Sequence[Piece]) -> list[tuple[Kind, int]]:
    """Runs of pieces that make one program: parts of the same thing, and an attention with what follows of its layer."""
    out: list[tuple[Kind, int]] = []
    for piece in pieces:
        joined = _join(out[-1][0], piece.kind) if out and out[-1][1] == piece.layer else None
        if joined is None:
            out.append((piece.kind, piece.layer))
        else:
            out[-1] = (joined, piece.layer)
    return out


def _join(a: Kind, b: Kind) -> Kind | None:
    if b.ffn[1] and not a.embed[1] and not a.head[1]:
        ffn = (a.ffn[0], a.ffn[1] + 1, b.ffn[2]) if a.ffn[1] else b.ffn
        return Kind(attention=a.attention, window=a.window, ffn=ffn, experts=b.experts)
    if b.embed[1] and a.embed[1]:
        return Kind(embed=(a.embed[0], a.embed[1] + 1, b.embed[2]))
    if b.head[1] and a.head[1]:
        return Kind(head=(a.head[0], a.head[1] + 1, b.head[2]))
    return None
