"""Rows of MLPerf Inference: language models and the rest (images, speech, recommendation).

- Results are of the whole system: `accelerators_total` counts all nodes' (result / accelerators is
  the file's own `result_per_accelerator`). Two rows of one submitter count twice (2 nodes, 32).
- No parallelism is recorded: `split_known` is False.
- Tokens/s count outputs. Samples/s and queries/s become tokens/s by the benchmark's mean output.
- Offline: all at once. Server and Interactive: arrivals at the highest rate that held the limits
  (`limits`); latencies, where given, are at that rate. Single stream: one at a time, and the result is
  the 90th percentile of the time of a query; its mean is used where given. Multistream: eight at once.
- Rows without an accelerator ran on the host: chip is its name, chips are sockets. Where that names no
  more than a core (Neoverse-N1), the system's name is added; "sockets" of such boards are clusters of
  cores. A system with a GPU that no column names is that GPU if the system's name says which.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import replace

from takt.accuracy.case import Case, Load, Measured, Skip
from takt.accuracy.readers.build import Defaults, finish, one_group, series_of
from takt.accuracy.readers.cells import Row, Unusable, each
from takt.accuracy.readers.facts import Benchmark, benchmarks, lengths, round_dates
from takt.accuracy.readers.names import engine_of, stored_types, type_of
from takt.chips import find_accelerator

__all__ = ["NEEDED", "read"]

NEEDED = frozenset(
    {
        "version",
        "system",
        "accelerator",
        "accelerators_total",
        "nodes",
        "host_cpu",
        "host_cpus_per_node",
        "benchmark",
        "scenario",
        "result",
        "unit",
    }
)
# More "sockets" than any server has: cores of a laptop or board, written into the wrong field.
_MOST_SOCKETS = 8
_MULTISTREAM = 8.0
# Hosts named by the kind of their cores.
_CORE = re.compile(r"(arm )?(cortex-|neoverse-|armv8 processor)", re.IGNORECASE)
_ON_GPU = re.compile(r"-gpu-")
# Two kinds of accelerator in a system's name, as in 16xMI325X_8xMI300X.
_KINDS = re.compile(r"(\d+)x(MI\d+X)")


def read(rows: Iterable[Row], defaults: Defaults) -> Iterator[Case | Skip]:
    """Each row as a case."""
    del defaults
    yield from each(rows, _case)


def _case(row: Row) -> Case:
    name, scenario = row.need("benchmark"), row.need("scenario").lower()
    if row.has("valid") and row.text("valid") != "VALID":
        raise Unusable("run marked as not valid")
    chip, n_chips = _chips(row)
    known = _benchmark(name)
    software = row.text("software")
    label = _weights(row.text("weight_data_types"))
    base = Case(
        where=row.where,
        dataset="mlperf" if known else "mlperf_nonllm",
        series="",
        chip=chip,
        model=name,
        engine=_engine(software, llm=known is not None),
        engine_version=software,
        date=round_dates().get(row.text("version"), ""),
        weights=stored_types(name, label).weights,
        load=_load(scenario),
        n_chips=n_chips,
        split=one_group(n_chips),
        split_known=n_chips == 1,
        measured=Measured(),
        source=row.text("source"),
        note=f"{row.text('version')} {row.text('division')} {row.text('system')}",
    )
    filled = _llm(row, base, known, scenario) if known else _other(row, base, scenario)
    # Two accuracies of one benchmark are mostly one run, and makers of servers run one chip's code.
    one = replace(filled, model=re.sub(r"-99(\.9)?$", "", name))
    return finish(replace(filled, series=series_of(one)))


def _llm(row: Row, base: Case, known: Benchmark, scenario: str) -> Case:
    result, unit = row.needed("result"), row.need("unit")
    samples = row.number("samples_per_s")
    output = known.output_tokens
    if unit == "tokens/s":
        tokens = result
        # The row's own mean output, where it gives both rates.
        output = result / samples if samples else output
    elif unit in ("samples/s", "queries/s"):
        tokens, samples = result * output, result
    elif unit == "latency_ms":
        latency = row.number("latency_mean_ms")
        samples = 1e3 / (latency or result)
        tokens = samples * output
        base = replace(base, note=base.note + ("" if latency else "; 90th percentile of latency"))
    else:
        raise Unusable("unit of the result not known")
    rate = samples or tokens / output
    open_load = base.load == "open"
    power_w = row.number("avg_system_power_w")
    energy = row.number("system_energy_j_per_token")
    one = base.load == "closed"
    return replace(
        base,
        prompt_tokens=known.prompt_tokens,
        output_tokens=output,
        rate_per_s=rate if open_load else None,
        limits=known.limits(scenario),
        concurrency=1.0 if one else None,
        measured=Measured(
            ttft_ms=row.number("ttft_p50_ms"),
            tpot_ms=row.number("tpot_p50_ms"),
            output_tokens_per_s=tokens,
            requests_per_s=rate,
            power_w=power_w,
            j_per_output_token=energy or (power_w / tokens if power_w else None),
        ),
    )


def _other(row: Row, base: Case, scenario: str) -> Case:
    result, unit = row.needed("result"), row.need("unit")
    power_w = row.number("avg_system_power_w")
    if known := lengths().get(f"mlperf/{base.model.split('-')[0]}"):
        base = replace(base, prompt_tokens=known.prompt_tokens)
    if unit == "latency_ms":
        batch = _MULTISTREAM if scenario == "multistream" else 1.0
        step_ms = row.number("latency_mean_ms") or result
        measured = Measured(step_ms=step_ms, requests_per_s=batch / step_ms * 1e3, power_w=power_w)
        return replace(base, load="steps", concurrency=batch, measured=measured)
    if unit == "tokens/s":
        measured = Measured(
            output_tokens_per_s=result, requests_per_s=row.number("samples_per_s"), power_w=power_w
        )
    elif unit in ("samples/s", "queries/s"):
        measured = Measured(requests_per_s=result, power_w=power_w)
    else:
        raise Unusable("unit of the result not known")
    return replace(base, rate_per_s=measured.requests_per_s, measured=measured)


def _load(scenario: str) -> Load:
    loads: dict[str, Load] = {
        "offline": "offline",
        "server": "open",
        "interactive": "open",
        "singlestream": "closed",
        "multistream": "steps",
    }
    if scenario not in loads:
        raise Unusable("scenario not known")
    return loads[scenario]


def _chips(row: Row) -> tuple[str, int]:
    accelerator = row.text("accelerator")
    total = row.count("accelerators_total", least=0) or 0
    nodes = row.count("nodes") or 1
    if len({kind for _, kind in _KINDS.findall(row.text("system"))}) > 1:
        raise Unusable("two kinds of accelerator in one system")
    if accelerator:
        per_node = total / nodes
        if per_node > 8 and nodes > 1 and f"{nodes}N" in row.text("system"):
            raise Unusable("accelerators counted twice, for each node all of them")
        return accelerator, total or 1
    return _host(row, nodes)


def _host(row: Row, nodes: int) -> tuple[str, int]:
    """The chip of a row without an accelerator, and how many."""
    host, system = row.need("host_cpu"), row.text("system")
    if _ON_GPU.search(system):
        if find_accelerator(system) is None:
            raise Unusable("ran on a GPU that is not named")
        return system, nodes
    if _CORE.match(host):
        # A board's GPU may bear the system's name: it is asked only where the core's tells nothing.
        return (host if find_accelerator(host) else f"{host}, {system}"), nodes
    sockets = row.count("host_cpus_per_node") or 1
    return host, (1 if sockets > _MOST_SOCKETS else sockets) * nodes


def _benchmark(name: str) -> Benchmark | None:
    """The benchmark whose id is in the row's name: `llama2-70b-99.9` is `llama2-70b`."""
    lower = name.lower()
    return next((known for id_, known in benchmarks().items() if id_ in lower), None)


def _engine(software: str, *, llm: bool) -> str:
    engine = engine_of(software)
    if engine == "trtllm" or "tensorrt" in software.lower():
        return "trtllm" if llm else "tensorrt"
    return engine if engine in ("vllm", "sglang") else software.split(",")[0].strip().lower()


def _weights(text: str) -> str:
    """One type of all weights, "" where a row lists several or none."""
    return type_of(text) if re.fullmatch(r"\w+", text) else ""
