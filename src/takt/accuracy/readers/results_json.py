"""Results files of serving benchmarks: `vllm bench serve`, SGLang's bench_serving, genai-perf, AIPerf.

Knows their fields, sources of which are the tools themselves:
- vllm / sglang: vllm/benchmarks/serve.py writes one flat object (`request_throughput`, `median_ttft_ms`,
  …; `request_rate` a number or "inf"), or appends objects, one a line.
- genai-perf / AIPerf: `profile_export*.json`: an object for each metric with its unit, `avg` and
  percentiles, and `input_config` with the command's arguments (its shape differs by version: the
  names are searched in it).
The chip is in none of them: it comes from the caller, or from metadata (`--metadata chip=h100-sxm`).
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from takt.accuracy.case import Case, Measured, Skip
from takt.accuracy.readers.build import Defaults, finish, first
from takt.accuracy.readers.cells import Row, Unusable
from takt.accuracy.readers.names import engine_of, stored_types, type_of
from takt.accuracy.readers.plain import given, load_of, split_of
from takt.accuracy.table import text_of
from takt.errors import DataError, UsageError

__all__ = ["read"]

_SERVE = ("request_throughput", "total_input_tokens", "total_output_tokens")
_PROFILE = ("request_throughput", "request_latency")
_MS = {"ms": 1.0, "s": 1e3, "sec": 1e3, "us": 1e-3, "ns": 1e-6}
_MAX_DEPTH = 8


def read(path: Path, defaults: Defaults) -> Iterator[Case | Skip]:
    """Each result in the file. Raises UsageError for JSON that none of these tools writes."""
    for number, result in enumerate(_objects(path), 1):
        where = f"{path.name}:{number}"
        try:
            if all(name in result for name in _PROFILE) and _is_metric(result["request_latency"]):
                yield _profile(Row(where=where, cells=_flat_profile(result)), defaults)
            elif all(name in result for name in _SERVE):
                yield _serve(Row(where=where, cells=_flat(result)), defaults)
            else:
                raise UsageError(
                    f"{path}: JSON, but not the results of a benchmark that is known",
                    hint="expected a file of vllm bench serve (with "
                    f"{', '.join(_SERVE)}, …) or of genai-perf or AIPerf (with "
                    f"{', '.join(_PROFILE)}, …)",
                )
        except Unusable as error:
            yield Skip(where=where, reason=error.message)


def _objects(path: Path) -> list[dict[str, Any]]:
    """The objects of a file: one, a list of them, or one a line."""
    text = text_of(path)
    try:
        try:
            found = json.loads(text)
        except json.JSONDecodeError:
            found = [json.loads(line) for line in text.splitlines() if line.strip()]
    except (ValueError, RecursionError) as error:
        raise DataError(f"not JSON ({error})", file=str(path)) from error
    results = found if isinstance(found, list) else [found]
    if not results or not all(isinstance(result, dict) for result in results):
        raise UsageError(f"{path}: expected results as a JSON object, or several of them")
    return results


def _is_metric(value: object) -> bool:
    return isinstance(value, dict) and "unit" in value


def _flat(result: Mapping[str, Any]) -> dict[str, str]:
    """Scalars of an object as cells."""
    return {
        key: str(value)
        for key, value in result.items()
        if isinstance(value, str | int | float) and value is not None
    }


def _flat_profile(result: Mapping[str, Any]) -> dict[str, str]:
    """Metrics as `name.avg`, `name.p50`, `name.unit`, and the arguments that matter."""
    cells = dict[str, str]()
    for name, metric in result.items():
        if _is_metric(metric):
            for key in ("avg", "p50", "unit"):
                if isinstance(metric.get(key), str | int | float):
                    cells[f"{name}.{key}"] = str(metric[key])
    arguments = result.get("input_config") or {}
    for cell, names in (
        ("model", ("model_names", "model_name", "model")),
        ("concurrency", ("concurrency",)),
        ("request_rate", ("request_rate",)),
    ):
        value = next((v for n in names if (v := _search(arguments, n, 0)) is not None), None)
        if value is not None:
            cells[cell] = value
    return cells


def _search(value: Any, name: str, depth: int) -> str | None:
    """The first scalar under a key `name`, at any depth down to a limit; of a list its first."""
    if depth > _MAX_DEPTH or not isinstance(value, dict):
        return None
    found = value.get(name)
    if isinstance(found, list) and found:
        found = found[0]
    if isinstance(found, str | int | float) and not isinstance(found, bool):
        return str(found)
    inner = (_search(child, name, depth + 1) for child in value.values())
    return next((text for text in inner if text is not None), None)


def _serve(row: Row, defaults: Defaults) -> Case:
    split, n_chips, known = split_of(row, defaults)
    completed = row.number("completed") or row.needed("num_prompts")
    users = row.number("max_concurrency")
    rate_text = row.text("request_rate").lower()
    rate = None if rate_text in ("", "inf") else row.needed("request_rate")
    model = given(row.text("model_id"), defaults.model, "model")
    types = stored_types(model, defaults.weights)
    prompt, output = row.needed("total_input_tokens"), row.needed("total_output_tokens")
    total = row.number("total_token_throughput") or row.number("total_throughput")
    case = Case(
        where=row.where,
        dataset="bench_serve",
        series="",
        chip=given(row.text("chip"), defaults.chip, "chip"),
        model=model,
        engine=engine_of(defaults.engine or row.text("backend") or row.text("endpoint_type")),
        date=_day(row.text("date")),
        load=load_of("", users, rate),
        rate_per_s=rate,
        n_chips=n_chips,
        split=split,
        split_known=known,
        weights=types.weights,
        experts=type_of(defaults.experts) or types.experts,
        kv=type_of(defaults.kv),
        concurrency=users,
        n_requests=int(completed),
        prompt_tokens=prompt / completed,
        output_tokens=output / completed,
        measured=Measured(
            ttft_ms=row.number("median_ttft_ms") or row.number("mean_ttft_ms"),
            tpot_ms=row.number("median_tpot_ms") or row.number("mean_tpot_ms"),
            output_tokens_per_s=row.number("output_throughput"),
            total_tokens_per_s=total,
            requests_per_s=row.number("request_throughput"),
        ),
        note=row.text("label"),
    )
    return finish(case)


def _day(text: str) -> str:
    """`20250131-120000` as 2025-01-31."""
    digits = text.split("-")[0]
    if len(digits) == 8 and digits.isdigit():
        return f"{digits[:4]}-{digits[4:6]}-{digits[6:]}"
    return ""


def _milliseconds(row: Row, name: str) -> float | None:
    """Median of a metric, else its mean, in ms."""
    value = first((row.number(f"{name}.p50"), row.number(f"{name}.avg")))
    if value is None:
        return None
    unit = row.text(f"{name}.unit").lower()
    if unit not in _MS:
        raise Unusable(f"unit of {name} not known")
    return value * _MS[unit]


def _profile(row: Row, defaults: Defaults) -> Case:
    split, n_chips, known = split_of(row, defaults)
    users = first((row.number("concurrency"), defaults.concurrency))
    rate = row.number("request_rate")
    model = given(row.text("model"), defaults.model, "model")
    types = stored_types(model, defaults.weights)
    requests = row.number("request_count.avg")
    prompt = first((row.number("input_sequence_length.avg"), row.number("num_input_token.avg")))
    output = first((row.number("output_sequence_length.avg"), row.number("num_output_token.avg")))
    case = Case(
        where=row.where,
        dataset="aiperf",
        series="",
        chip=given("", defaults.chip, "chip"),
        model=model,
        engine=engine_of(defaults.engine),
        load=load_of("", users if rate is None else None, rate),
        rate_per_s=rate,
        n_chips=n_chips,
        split=split,
        split_known=known,
        weights=types.weights,
        experts=type_of(defaults.experts) or types.experts,
        kv=type_of(defaults.kv),
        concurrency=users,
        n_requests=int(requests) if requests else None,
        prompt_tokens=first((prompt, defaults.prompt_tokens)),
        output_tokens=first((output, defaults.output_tokens)),
        measured=Measured(
            ttft_ms=_milliseconds(row, "time_to_first_token"),
            tpot_ms=_milliseconds(row, "inter_token_latency"),
            output_tokens_per_s=row.number("output_token_throughput.avg"),
            requests_per_s=row.number("request_throughput.avg"),
        ),
    )
    return finish(case)
