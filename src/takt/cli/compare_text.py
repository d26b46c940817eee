"""Rows of `takt compare` as JSON, as flat cells for CSV, and as a table with its footnotes.

Knows how figures read, not how they come about.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from itertools import groupby
from textwrap import fill

from takt.cli.table import aligned
from takt.plan import FIGURES, Compared, Known, Layout, PairLayout, Price, Request

__all__ = ["document_of", "flat_keys", "flatten", "table_of", "title_of"]

_SPLIT = ("chips", "tp", "pp", "dp", "ep")
_HEADS = ("simulated", "measured", "fitted", "roofline", "published", "derived", "assumed")
_WIDTH = 118
_ADDRESS = re.compile(r"(?:[,:]|, as collected at)? https?://[^ ;]*")
_WORD = re.compile(r"[a-z]+(?:/[a-z]+)*")


def document_of(row: Compared, request: Request) -> dict[str, object]:
    """One row as `--json` prints it; figures that are not known are null."""
    served, price = row.served, row.price
    ttft_s, rate = row.ttft_s, row.known.get("tokens_per_s_chip")
    return {
        "chip": row.chip,
        "name": row.name,
        "chips": row.chips,
        "needs_chips": row.needs_chips,
        "ttft_ms": None if ttft_s is None else 1e3 * ttft_s,
        "tpot_ms": None if served is None else 1e3 * served.tpot_s,
        "tokens_per_s_user": row.tokens_per_s_user,
        "tokens_per_s_chip": row.tokens_per_s_chip,
        "tokens_per_s_mw": row.tokens_per_s_mw,
        "j_per_token": row.j_per_token,
        "usd_per_mtok": row.usd_per_mtok,
        "users": None if served is None else served.users,
        "layout": _split(served.layout if served else None),
        "first_chips": served.layout.first_chips
        if served and isinstance(served.layout, PairLayout)
        else None,
        "fastest": _split(row.alone.layout if row.alone else None),
        "precision": row.precision,
        "engine": row.engine,
        "basis": rate.basis if rate else "",
        "expected_error": rate.expected_error if rate else None,
        "known": {name: asdict(row.known[name]) for name in FIGURES if name in row.known},
        "chip_w": row.chip_w,
        "power_basis": row.power_basis,
        "usd_per_chip_h": price.usd_per_h if price else None,
        "price_kind": price.kind if price else None,
        "price_source": price.source if price else None,
        "price_date": price.date if price else None,
        "price_note": price.note if price else None,
        "assumed": list(row.assumed),
        "reason": row.reason,
        "prompt_tokens": request.prompt_tokens,
        "output_tokens": request.output_tokens,
        "target_tpot_ms": 1e3 * request.tpot_s,
        "target_ttft_ms": None if request.ttft_s is None else 1e3 * request.ttft_s,
    }


def _split(layout: Layout | PairLayout | None) -> dict[str, int] | None:
    """Of a pair all chips, and the split of the second kind."""
    if layout is None:
        return None
    part = layout if isinstance(layout, Layout) else layout.second
    return {name: getattr(part, name) for name in _SPLIT} | {"chips": layout.chips}


def flat_keys() -> list[str]:
    """Columns of the CSV: the keys of the JSON; of `layout` and `fastest` each part, of `known` the errors."""
    document = document_of(Compared(chip="", name="", known={}), Request())
    return [name for key in document for name in _columns(key)]


def _columns(key: str) -> list[str]:
    if key in ("layout", "fastest"):
        return [f"{key}_{part}" for part in _SPLIT]
    return [f"error_{figure}" for figure in FIGURES] if key == "known" else [key]


def flatten(document: Mapping[str, object]) -> dict[str, object]:
    """A row of the CSV."""
    flat: dict[str, object] = {}
    for key, value in document.items():
        if key in ("layout", "fastest") and isinstance(value, dict):
            flat |= {f"{key}_{part}": value[part] for part in _SPLIT}
        elif key == "known" and isinstance(value, dict):
            flat |= {f"error_{figure}": known["expected_error"] for figure, known in value.items()}
        elif isinstance(value, list):
            flat[key] = " ".join(value)
        elif key not in ("layout", "fastest"):
            flat[key] = value
    return flat


def table_of(model: str, rows: Sequence[Compared], request: Request, *, per: str) -> str:
    """The table, and below it what the columns mean, prices and assumptions."""
    head = (
        *("CHIP", "NEEDS", "TTFT", "TOK/S/USER", "SERVED ON", "USERS"),
        *("TOK/S/MW" if per == "mw" else "TOK/S/CHIP", "J/TOKEN", "$/MTOK", "±"),
        "BASIS, OR WHY NOT",
    )
    table = aligned([head, *(_line(row, per) for row in rows)], right=(1, 2, 3, 5, 6, 7, 8, 9))
    return f"{title_of(model, request)}\n\n{table}\n{_notes(rows, per)}"


def title_of(model: str, request: Request) -> str:
    """What was asked, in a line."""
    pace = (
        f"{1e3 * request.tpot_s:.4g} ms a token ({1 / request.tpot_s:.4g} tokens/s for each user)"
    )
    first = "" if request.ttft_s is None else f", first token within {request.ttft_s:.4g} s"
    return (
        f"{model}, {request.prompt_tokens:,} tokens in and {request.output_tokens:,} out; "
        f"target {pace}{first}"
    )


def _line(row: Compared, per: str) -> tuple[str, ...]:
    served, known = row.served, row.known.get("tokens_per_s_chip")
    rate = row.tokens_per_s_mw if per == "mw" else row.tokens_per_s_chip
    return (
        row.chip,
        "–" if row.chips is None else f"{row.chips:,}",
        _time(row.ttft_s),
        _number(row.tokens_per_s_user),
        "–" if served is None else _layout(served.layout),
        "–" if served is None else f"{served.users:,}",
        _number(rate),
        _number(row.j_per_token),
        _number(row.usd_per_mtok),
        _error(known),
        row.reason or (f"{row.precision}; {_short(known.basis)}" if known else ""),
    )


def _layout(layout: Layout | PairLayout) -> str:
    return "1" if layout.chips == 1 else f"{layout.chips}: {layout}"


def _number(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:,.0f}" if abs(value) >= 99.5 else f"{value:.3g}"


def _time(seconds: float | None) -> str:
    if seconds is None:
        return "–"
    return f"{seconds:.3g} s" if seconds >= 0.9995 else f"{1e3 * seconds:.3g} ms"


def _error(known: Known | None) -> str:
    if known is None or known.expected_error is None:
        return "–"
    return f"{100 * known.expected_error:.0f} %" if known.expected_error else "exact"


def _short(basis: str) -> str:
    """`measured+assumed` of what the figure rests on, best known first."""
    heads = {
        head
        for part in basis.split("; ")
        if (found := _WORD.match(part))
        for head in found[0].split("/")
    }
    return "+".join(head for head in _HEADS if head in heads) or basis


def _notes(rows: Sequence[Compared], per: str) -> str:
    lines = [
        "NEEDS: fewest chips that hold the model and meet the target. TOK/S/USER: output tokens for one user alone, on "
        "the fastest layout. All other figures: SERVED ON (chips: split) with as many USERS as meet the target, on the "
        "layout with most output tokens for each chip; the prompts' work is in them. J/TOKEN: of the chips, without "
        "host and cooling. ±: median relative error to expect of time per token, from measured systems whose model, chip or "
        "configuration the predictions had not seen (--json has each figure's).",
    ]
    if any(_error(row.known.get("tokens_per_s_chip")) == "exact" for row in rows):
        lines.append(
            "exact: cycles of a schedule, proved for the machine as its facts have it; what is assumed of it is below."
        )
    if per == "mw":
        lines.append(_megawatts(rows))
    lines += _prices(rows)
    assumed = sorted(
        {
            part.partition(": ")[2] or part
            for row in rows
            for known in row.known.values()
            for part in known.basis.split("; ")
            if part.startswith("assumed")
        }
    )
    assumed += [f"{', '.join(row.assumed)} of {row.chip}" for row in rows if row.assumed]
    if assumed:
        lines.append(f"Assumed: {'; '.join(assumed)}.")
    return "".join(f"{fill(line, _WIDTH, subsequent_indent='  ')}\n" for line in lines)


def _megawatts(rows: Sequence[Compared]) -> str:
    served = [row for row in rows if row.served]
    limit = ", ".join(row.chip for row in served if row.power_basis == "chip only")
    drawn = ", ".join(row.chip for row in served if row.power_basis == "chips as drawn")
    return "; ".join(
        [
            "MW: at the meter, with each chip's share of host, network and conversion",
            *([f"of the chips' own limit for {limit}"] if limit else []),
            *([f"as the chips draw it for {drawn}"] if drawn else []),
        ]
    )


def _prices(rows: Sequence[Compared]) -> list[str]:
    """Every price that is used, grouped by kind, source and date; then who has none."""
    priced = [(row.price, row.chip) for row in rows if row.price is not None]
    lines = []
    for (kind, date, source), group in groupby(sorted(priced, key=_price_key), key=_price_key_of):
        each = ", ".join(f"{chip} {price.usd_per_h:.4g}" for price, chip in group)
        words = {"rent": "rented", "own": "owned", "given": "as given"}[kind]
        title = _ADDRESS.sub("", source)
        origin = f" ({', '.join(part for part in (date, title) if part)})" if title else ""
        lines.append(f"$ an hour, {words}: {each}{origin}.")
    missing = [row.chip for row in rows if row.price is None]
    if missing:
        other = "--price CHIP=USD gives one"
        lines.append(f"No price by the hour known: {', '.join(missing)} ({other}).")
    return lines


def _price_key(pair: tuple[Price, str]) -> tuple[str, str, str, str]:
    price, chip = pair
    return (price.kind, price.date, price.source, chip)


def _price_key_of(pair: tuple[Price, str]) -> tuple[str, str, str]:
    return _price_key(pair)[:3]
