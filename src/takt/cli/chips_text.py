"""What `takt chips` says of one chip or system: as text with every fact, and as JSON.

Knows all three kinds (keys of the JSON in docs/chips.md and docs/systems.md).
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass

from takt.chips import Accelerator, Chip, Fact, Kind, System
from takt.chips.lookup import Reach
from takt.cli.table import aligned
from takt.errors import UsageError
from takt.units import format_bytes, format_si

__all__ = ["describe", "facts_of", "summary_of", "system_table"]


def describe(found: Chip | System | Accelerator, n_chips: int | None = None) -> str:
    """Everything about it; of a system with `n_chips` (default: all it can have)."""
    if isinstance(found, System):
        return _describe_system(found, _size(found, n_chips))
    _check_one(found, n_chips)
    return _describe_accelerator(found) if isinstance(found, Accelerator) else _describe_lpu(found)


def summary_of(found: Chip | System | Accelerator) -> dict[str, object]:
    """The figures that the list has as JSON."""
    if isinstance(found, System):
        return _system_summary(found)
    return _accelerator_summary(found) if isinstance(found, Accelerator) else _summary(found)


def facts_of(found: Chip | System | Accelerator, n_chips: int | None = None) -> dict[str, object]:
    """The summary, every fact with its history, and the sources; of a system also its sizes."""
    summary = summary_of(found)
    if isinstance(found, System):
        summary |= asdict(_size(found, n_chips))
    else:
        _check_one(found, n_chips)
    facts = {fact.key: _fact(fact) for fact in found.facts}
    return summary | {"facts": facts, "sources": dict(found.sources)}


def _check_one(chip: Chip | Accelerator, n_chips: int | None) -> None:
    if n_chips not in (None, 1):
        hint = "a chip is one; `takt chips` lists the systems"
        raise UsageError(f"{chip.id} has no {n_chips:,} chips", hint=hint)


def system_table(systems: Iterable[System]) -> str:
    """Systems as text, aligned."""
    head = ("SYSTEM", "CHIP", "CHIPS", "NODE", "RACK", "SRAM", "INT8 PEAK", "FACTS", "NAME")
    return aligned([head, *map(_system_line, systems)], right=(2, 3, 4, 5, 6))


def _system_line(system: System) -> tuple[str, ...]:
    return (
        system.id,
        system.chip.id,
        f"{system.max_chips:,}",
        f"{system.node.chips}",
        f"{system.rack_chips}",
        format_bytes(system.sram_bytes),
        format_si(system.max_chips * system.chip.int8_ops_per_s, "op/s"),
        _kinds(system.facts),
        system.name,
    )


def _kinds(facts: Iterable[Fact]) -> str:
    counts = Counter(fact.kind for fact in facts)
    return ", ".join(f"{counts[kind]} {kind}" for kind in Kind)


def _describe_lpu(chip: Chip) -> str:
    follows = [
        ("SRAM", f"{format_bytes(chip.sram_bytes)} = {chip.sram_bytes:,} B"),
        ("SRAM rate", f"{chip.sram_bytes_per_cycle:,} B/cycle"),
        ("stream rate", f"{chip.stream_bytes_per_cycle:,} B/cycle"),
        ("int8 peak", format_si(chip.int8_ops_per_s, "op/s")),
        ("fp16 peak", format_si(chip.fp16_ops_per_s, "op/s")),
        ("VXM to SXM, MXM", f"{chip.sxm_hops}, {chip.mxm_hops} hops"),
        ("vector on link", f"{chip.c2c_vector_cycles} cycles"),
        ("launch", f"{chip.launch_cycles} cycles from program to program"),
        ("idle, all busy", f"{chip.power_w(0):.0f} W, {chip.power_w(1):.0f} W"),
        ("fingerprint", chip.fingerprint[:16]),
    ]
    head = f"{chip.id}: {chip.name}\n"
    return "\n".join([head, aligned(follows), _fact_table(chip), _source_table(chip)])


def _describe_accelerator(chip: Accelerator) -> str:
    memory, links = chip.memory, chip.scale_up
    rate = f", {format_si(links.bytes_per_s, 'B/s')} each way" if links.bytes_per_s else ""
    follows = [
        ("made by", f"{chip.vendor}, {chip.architecture}"),
        ("memory", f"{format_bytes(memory.capacity_bytes)} = {memory.capacity_bytes:,} B"),
        ("bandwidth", format_si(memory.bytes_per_s, "B/s")),
        ("peaks", ", ".join(_peaks(chip))),
        ("balance", f"{chip.peak.half_ops_per_s / memory.bytes_per_s:.0f} op/B in bf16"),
        ("links", f"{links.chips:,} chip{'' if links.chips == 1 else 's'}{rate}"),
        ("efficiency", "its own" if chip.nearest == chip.id else f"as {chip.nearest}"),
        ("also called", ", ".join(chip.aliases) or "-"),
    ]
    head = f"{chip.id}: {chip.name}\n"
    return "\n".join([head, aligned(follows), _fact_table(chip), _source_table(chip)])


def _peaks(chip: Accelerator) -> Iterator[str]:
    """Rate of each type; of types that the chip has not, the rate of the wider one that it takes."""
    peak = chip.peak
    own = {"bf16": peak.half_ops_per_s, "fp8": peak.fp8_ops_per_s, "fp4": peak.fp4_ops_per_s}
    for name, rate in (own | {"int8": peak.int8_ops_per_s}).items():
        widened = "" if rate is not None else " (widened)"
        yield f"{name} {format_si(chip.ops_per_s(name), 'op/s')}{widened}"
    if peak.fp32_ops_per_s is not None:
        yield f"fp32 {format_si(peak.fp32_ops_per_s, 'op/s')}"


def _fact_table(found: Chip | System | Accelerator) -> str:
    rows = [
        (fact.key, _number(fact), fact.unit, str(fact.kind), fact.source, fact.date, fact.note)
        for fact in found.facts
    ]
    header = ("FACT", "VALUE", "UNIT", "KIND", "SOURCE", "DATE", "NOTE")
    return aligned([header, *rows], right=(1,))


def _source_table(found: Chip | System | Accelerator) -> str:
    return aligned([("SOURCE", ""), *found.sources])


@dataclass(frozen=True, slots=True, kw_only=True)
class _Size:
    """What a system is with ``chips`` chips; wires count once for each direction."""

    chips: int
    wires: int
    sram_bytes: int
    sram_bytes_per_s: int
    link_bytes_per_s: int
    int8_ops_per_s: int
    hops: int
    node_hops: int
    reach: tuple[Reach, ...]


def _size(system: System, n_chips: int | None) -> _Size:
    network = system.network(n_chips)
    count, chip = network.n_chips, system.chip
    return _Size(
        chips=count,
        wires=len(network.wires),
        sram_bytes=count * chip.sram_bytes,
        sram_bytes_per_s=count * chip.sram_bytes_per_cycle * chip.clock_hz,
        link_bytes_per_s=len(network.wires) * system.link_bytes_per_s,
        int8_ops_per_s=count * chip.int8_ops_per_s,
        hops=max(network.distances(0)),
        node_hops=max(network.node_distances(0)),
        reach=system.reach(network),
    )


def _describe_system(system: System, size: _Size) -> str:
    follows = [
        ("chips", f"{size.chips:,} of {system.max_chips:,}, {system.chip.id}"),
        ("SRAM", f"{format_bytes(size.sram_bytes)} = {size.sram_bytes:,} B"),
        ("SRAM rate", format_si(size.sram_bytes_per_s, "B/s")),
        ("int8 peak", format_si(size.int8_ops_per_s, "op/s")),
        ("links", f"{size.wires:,} wires, {format_si(size.link_bytes_per_s, 'B/s')}"),
        ("longest way", f"{size.hops} wires, {size.node_hops} of them between nodes"),
    ]
    rows = [
        (f"{row.latency_ns:,} ns", f"{row.hops}", f"{row.chips:,}", format_bytes(row.sram_bytes))
        for row in size.reach
    ]
    return "\n".join(
        [
            f"{system.id}: {system.name}\n",
            aligned(follows),
            aligned([("REACH", "WIRES", "CHIPS", "SRAM"), *rows], right=(0, 1, 2, 3)),
            _fact_table(system),
            _source_table(system),
        ]
    )


def _number(fact: Fact) -> str:
    if fact.value is None:
        return "unknown"
    return f"{fact.value:,}" if isinstance(fact.value, int) else f"{fact.value:g}"


def _summary(chip: Chip) -> dict[str, object]:
    return {
        "id": chip.id,
        "name": chip.name,
        "fingerprint": chip.fingerprint,
        "clock_hz": chip.clock_hz,
        "lanes": chip.lanes,
        "queues": chip.icu.queues,
        "sram_bytes": chip.sram_bytes,
        "sram_bytes_per_cycle": chip.sram_bytes_per_cycle,
        "stream_bytes_per_cycle": chip.stream_bytes_per_cycle,
        "int8_ops_per_s": chip.int8_ops_per_s,
        "fp16_ops_per_s": chip.fp16_ops_per_s,
    }


def _accelerator_summary(chip: Accelerator) -> dict[str, object]:
    summary: dict[str, object] = {
        "id": chip.id,
        "name": chip.name,
        "kind": chip.kind,
        "vendor": chip.vendor,
        "architecture": chip.architecture,
        "nearest": chip.nearest,
        "aliases": list(chip.aliases),
    }
    summary |= asdict(chip.memory) | asdict(chip.peak)
    summary |= {f"scale_up_{name}": value for name, value in asdict(chip.scale_up).items()}
    summary |= {f"scale_out_{name}": value for name, value in asdict(chip.scale_out).items()}
    return summary | asdict(chip.power) | asdict(chip.price)


def _system_summary(system: System) -> dict[str, object]:
    return {
        "id": system.id,
        "name": system.name,
        "chip": system.chip.id,
        "max_chips": system.max_chips,
        "node_chips": system.node.chips,
        "rack_chips": system.rack_chips,
        "max_sram_bytes": system.sram_bytes,
    }


def _fact(fact: Fact) -> dict[str, object]:
    return {
        "value": fact.value,
        "unit": fact.unit,
        "kind": str(fact.kind),
        "source": fact.source,
        "date": fact.date,
        "note": fact.note,
        "history": [_fact(earlier) for earlier in fact.history],
    }
