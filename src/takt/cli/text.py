"""Tables that more than one verb prints: where the cycles of a program went."""

from collections.abc import Iterable

from takt.cli.table import aligned
from takt.report import LayerUse, RunSummary
from takt.units import format_si

__all__ = ["layer_table", "percent", "sensitivity_text", "unit_table"]

_STAGES_SHOWN = 4


def percent(part: float, whole: float) -> str:
    """`12 %`, `1.3 %`, `0 %`: two digits are enough to compare."""
    share = 100 * part / whole if whole else 0.0
    if 0 < share < 0.05:
        return "<0.1 %"
    return f"{share:.0f} %" if share >= 9.95 or share == 0 else f"{share:.1f} %"


def sensitivity_text(rows: Iterable[tuple[str, float, float]]) -> str:
    """(cause, low, high) in joules: `idle ×0.5…×2: 131 µJ…394 µJ, mac ×0.5…×2: 216 µJ…234 µJ`."""
    return ", ".join(
        f"{cause} ×0.5…×2: {format_si(low, 'J')}…{format_si(high, 'J')}"
        for cause, low, high in rows
    )


def layer_table(summary: RunSummary) -> str:
    """Layers of the program with the cycles that belong to them, and the stages that took most."""
    whole = summary.program_cycles
    header = ("LAYER", "CYCLES", "SHARE", "FROM", "TO", "MOST OF IT")
    rows = [
        (
            layer.name,
            f"{layer.cycles:,}",
            percent(layer.cycles, whole),
            f"{layer.start_cycle:,}",
            f"{layer.end_cycle:,}",
            _stages(layer),
        )
        for layer in summary.by_layer
    ]
    title = f"Layer by layer, in {summary.program} of {whole:,} cycles:\n"
    return title + aligned([header, *rows], right=(1, 2, 3, 4))


def _stages(layer: LayerUse) -> str:
    most = sorted(layer.stages, key=lambda stage: -stage[1])[:_STAGES_SHOWN]
    return ", ".join(f"{name} {cycles:,}" for name, cycles in most if cycles)


def unit_table(summary: RunSummary) -> str:
    """Kinds of queue and how busy they were; kinds that did nothing are left out."""
    header = ("UNIT", "QUEUES", "ISSUES", "BUSY", "BUSIEST", "ANY")
    rows = [
        (
            use.kind,
            str(use.n_queues),
            f"{use.issues:,}",
            percent(use.busy_fraction, 1),
            percent(use.busiest_fraction, 1),
            percent(use.active_fraction, 1),
        )
        for use in summary.by_unit
        if use.issues
    ]
    title = "Unit by unit: cycles in which a queue issues (mean, busiest queue, any queue):\n"
    return title + aligned([header, *rows], right=(1, 2, 3, 4, 5))
