"""A user's own table: documented columns, of which few are needed.

Needed: `isl_tokens`, `osl_tokens`, one measurement, and `chip` and `model` unless the caller gives
them. Measurements: `ttft_ms`, `tpot_ms` (medians), `output_tok_s`, `total_tok_s`, `requests_per_s` (of
the whole system), `j_per_output_token`, `power_w`, `step_ms`. Configuration: `engine`,
`engine_version`, `precision` (of weights), `experts`, `kv`, `n_chips`, `tp`, `pp`, `dp`, `ep`, `workers`,
`depth_tokens`, `speculative`, `series`, `date`, `note`, `source`. Load: `concurrency`, `request_rate`,
`n_requests`, and `load` (closed, static, offline, open, steps) where it isn't what those say.
"""

from collections.abc import Iterable, Iterator
from functools import partial
from typing import get_args

from takt.accuracy.case import Case, Load, Measured, Skip, Split
from takt.accuracy.readers.build import Defaults, finish, first
from takt.accuracy.readers.cells import Row, Unusable, each
from takt.accuracy.readers.names import engine_of, stored_types, type_of

__all__ = ["MEASURES", "NEEDED", "given", "load_of", "read", "split_of"]

NEEDED = frozenset({"isl_tokens", "osl_tokens"})
MEASURES = frozenset(
    {
        "ttft_ms",
        "tpot_ms",
        "output_tok_s",
        "total_tok_s",
        "requests_per_s",
        "step_ms",
    }
)


def read(rows: Iterable[Row], defaults: Defaults) -> Iterator[Case | Skip]:
    """Each row as a case; what a row leaves out comes from `defaults`."""
    yield from each(rows, partial(_case, defaults=defaults))


def given(text: str, default: str, what: str) -> str:
    """A row's own word or the caller's. Raises Unusable if neither says it."""
    if not (text or default):
        raise Unusable(f"no {what}")
    return text or default


def split_of(row: Row, defaults: Defaults) -> tuple[Split, int, bool]:
    """Split, chips, and whether the split is known; what's not said is tensor parallel."""
    n_chips = row.count("n_chips") or defaults.n_chips
    tp, pp = row.count("tp") or defaults.tp, row.count("pp") or defaults.pp or 1
    dp, ep = row.count("dp") or defaults.dp or 1, row.count("ep") or defaults.ep
    workers = row.count("workers") or 1
    known = tp is not None or (n_chips or 1) == 1
    rest = pp * dp * workers
    if tp is None and n_chips is not None:
        if n_chips % rest:
            raise Unusable("the split needs another number of chips than the row gives")
        tp = n_chips // rest
    split = Split(tp=tp or 1, pp=pp, dp=dp, ep=ep, workers=workers)
    return split, n_chips or split.chips, known


def load_of(text: str, users: float | None, rate: float | None) -> Load:
    """The load that a row names, else the one that its numbers say."""
    for load in get_args(Load):
        if text == load:
            return load  # type: ignore[no-any-return]
    if text:
        raise Unusable("load not known")
    if rate is not None:
        return "open"
    return "closed" if users is not None else "offline"


def _case(row: Row, *, defaults: Defaults) -> Case:
    split, n_chips, known = split_of(row, defaults)
    users = row.number("concurrency") or defaults.concurrency
    rate_text = row.text("request_rate").lower()
    rate = None if rate_text in ("", "inf") else row.needed("request_rate")
    model = given(row.text("model"), defaults.model, "model")
    types = stored_types(model, row.text("precision") or defaults.weights)
    case = Case(
        where=row.where,
        dataset="user",
        series=row.text("series"),
        chip=given(row.text("chip"), defaults.chip, "chip"),
        model=model,
        engine=engine_of(row.text("engine") or defaults.engine),
        engine_version=row.text("engine_version"),
        date=row.text("date"),
        load=load_of(row.text("load").lower(), users, rate),
        rate_per_s=rate,
        n_chips=n_chips,
        split=split,
        split_known=known,
        weights=types.weights,
        experts=type_of(row.text("experts") or defaults.experts) or types.experts,
        kv=type_of(row.text("kv") or defaults.kv),
        concurrency=users,
        n_requests=row.count("n_requests"),
        prompt_tokens=first((row.tokens("isl_tokens", zero=True), defaults.prompt_tokens)),
        output_tokens=first((row.tokens("osl_tokens", zero=True), defaults.output_tokens)),
        depth_tokens=row.tokens("depth_tokens", zero=True) or 0.0,
        speculative=row.text("speculative"),
        measured=Measured(
            ttft_ms=row.number("ttft_ms"),
            tpot_ms=row.number("tpot_ms"),
            output_tokens_per_s=row.number("output_tok_s"),
            total_tokens_per_s=row.number("total_tok_s"),
            requests_per_s=row.number("requests_per_s"),
            j_per_output_token=row.number("j_per_output_token"),
            power_w=row.number("power_w"),
            step_ms=row.number("step_ms"),
        ),
        source=row.text("source"),
        note=row.text("note"),
    )
    return finish(case)
