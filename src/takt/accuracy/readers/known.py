"""The tables that are known, by their columns: which reader a header calls for.

Knows names of columns, not of files. A header fits a table if it has all columns that the table's
reader needs, in any order, whatever else it has; the table with most needed columns counts.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from takt.accuracy.case import Case, Skip
from takt.accuracy.readers import (
    aic,
    argonne,
    aws,
    dstack,
    hosted,
    inferencex,
    llamacpp,
    mlenergy,
    mlperf,
    plain,
    serving,
    splitwise,
    trtllm,
    vllm_requests,
)
from takt.accuracy.readers.build import Defaults
from takt.accuracy.readers.cells import Row
from takt.errors import UsageError, did_you_mean

__all__ = ["TABLES", "Table", "filled_from", "table_of"]

# A header with less of a table's columns is not meant to be that table.
_NEAR = 0.4
Reader = Callable[[Iterable[Row], Defaults], Iterator[Case | Skip]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A kind of table: the columns that its reader needs, and which of them `Defaults` may stand in for."""

    name: str
    needed: frozenset[str]
    read: Reader
    stand_ins: Mapping[str, str] = field(default_factory=dict)

    def missing(self, header: Iterable[str], defaults: Defaults) -> frozenset[str]:
        """Needed columns that neither the header nor the caller has."""
        return self.needed - frozenset(header) - filled_from(self, defaults).keys()


def filled_from(table: Table, defaults: Defaults) -> dict[str, str]:
    """Cells that the caller gives for columns that a file may lack."""
    values = {column: getattr(defaults, name) for column, name in table.stand_ins.items()}
    return {column: str(value) for column, value in values.items() if value}


def _stand_ins(chip: str, **columns: str) -> dict[str, str]:
    return {chip: "chip", "model": "model"} | {column: name for name, column in columns.items()}


TABLES = (
    Table(
        name="inferencex",
        needed=inferencex.NEEDED,
        read=inferencex.read,
        stand_ins=_stand_ins("hardware", engine="framework", weights="precision"),
    ),
    Table(
        name="aic",
        needed=aic.NEEDED,
        read=aic.read,
        stand_ins=_stand_ins("system", engine="framework"),
    ),
    Table(name="mlperf", needed=mlperf.NEEDED, read=mlperf.read),
    Table(
        name="trtllm",
        needed=trtllm.NEEDED,
        read=trtllm.read,
        stand_ins=_stand_ins("gpu", weights="precision", n_chips="num_gpus"),
    ),
    Table(
        name="serving_docs",
        needed=serving.NEEDED,
        read=serving.read,
        stand_ins=_stand_ins("device", engine="engine", tp="tp"),
    ),
    Table(
        name="dstack",
        needed=dstack.NEEDED,
        read=dstack.read,
        stand_ins=_stand_ins("device", engine="engine", tp="tp", n_chips="num_devices"),
    ),
    Table(
        name="argonne",
        needed=argonne.NEEDED,
        read=argonne.read,
        stand_ins=_stand_ins("device", engine="framework", n_chips="num_devices"),
    ),
    Table(name="aws", needed=aws.NEEDED, read=aws.read, stand_ins=_stand_ins("chip")),
    Table(
        name="vllm_requests",
        needed=vllm_requests.NEEDED,
        read=vllm_requests.read,
        stand_ins=_stand_ins("gpu", tp="tp", weights="dtype"),
    ),
    Table(
        name="llamacpp",
        needed=llamacpp.NEEDED,
        read=llamacpp.read,
        stand_ins=_stand_ins("device", engine="engine", n_chips="num_devices"),
    ),
    Table(name="hosted", needed=hosted.NEEDED, read=hosted.read),
    Table(
        name="mlenergy_v3",
        needed=mlenergy.NEEDED_V3,
        read=mlenergy.read_v3,
        stand_ins=_stand_ins("gpu", n_chips="num_gpus"),
    ),
    Table(
        name="mlenergy_v2",
        needed=mlenergy.NEEDED_V2,
        read=mlenergy.read_v2,
        stand_ins=_stand_ins("gpu", tp="tp", pp="pp"),
    ),
    Table(
        name="splitwise",
        needed=splitwise.NEEDED,
        read=splitwise.read,
        stand_ins=_stand_ins("hardware", tp="tensor_parallel"),
    ),
)
PLAIN = Table(
    name="plain",
    needed=plain.NEEDED | {"chip", "model"},
    read=plain.read,
    stand_ins={
        "chip": "chip",
        "model": "model",
        "isl_tokens": "prompt_tokens",
        "osl_tokens": "output_tokens",
    },
)


def table_of(path: Path, header: tuple[str, ...], defaults: Defaults) -> Table:
    """The table that a header belongs to.

    Raises UsageError if a column stands twice, or if none fits: with the nearest table, its columns
    and those that are missing.
    """
    if len(set(header)) < len(header):
        twice = sorted({name for name in header if header.count(name) > 1})
        raise UsageError(f"{path}: two columns of the same name: {', '.join(twice)}")
    fitting = [table for table in TABLES if not table.missing(header, defaults)]
    if fitting:
        return max(fitting, key=lambda table: len(table.needed))
    if not PLAIN.missing(header, defaults) and plain.MEASURES & set(header):
        return PLAIN
    raise _unknown(path, header, defaults)


def _unknown(path: Path, header: tuple[str, ...], defaults: Defaults) -> UsageError:
    found = set(header)

    def share(table: Table) -> float:
        return len(table.needed & found) / len(table.needed)

    nearest = max(TABLES, key=share)
    if share(nearest) < max(_NEAR, share(PLAIN)):
        nearest = PLAIN
    missing = sorted(nearest.missing(header, defaults))
    wanted = f"missing: {', '.join(missing)}" if missing else "no column with a measurement"
    if nearest is PLAIN and not plain.MEASURES & found:
        wanted += f"; and one of {', '.join(sorted(plain.MEASURES))}"
    hints = [
        f"{name}: {near}"
        for name in missing
        if (near := did_you_mean(name, found - nearest.needed)) is not None
    ]
    return UsageError(
        f"{path}: columns of no table of measurements that is known; nearest is '{nearest.name}', "
        f"which needs {', '.join(sorted(nearest.needed))}; {wanted}",
        hint="; ".join(hints[:3])
        or "a table of your own needs chip, model, isl_tokens, osl_tokens and a measurement",
    )
