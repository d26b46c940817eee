"""Files of `takt simulate`: event log, timelines, pictures. Each appears when it is whole, or not at all.

Knows which room writes what, and imports it for files that are asked for.
"""

import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from takt.cli.outputs import check_apart, writable
from takt.cli.simulate_result import About
from takt.cli.simulate_run import Sink
from takt.errors import UsageError
from takt.serving import EventKind, Fleet
from takt.serving.results import EventFile, Outcome, Timeline

__all__ = ["Outputs", "plot", "sinks_of"]

_PICTURES = (".png", ".svg")
_ENDINGS = {"--perfetto": (".json",), "--timeline": _PICTURES, "--plot": _PICTURES}


@dataclass(frozen=True, slots=True, kw_only=True)
class Outputs:
    """Files to write beside what is printed."""

    events: str | None
    perfetto: str | None
    timeline: str | None
    plot: str | None

    @property
    def stated(self) -> list[tuple[str, str]]:
        """(option, file) of each."""
        names = ("events", "perfetto", "timeline", "plot")
        return [(f"--{name}", file) for name in names if (file := getattr(self, name))]

    def check(self) -> None:
        """Say now what cannot be written."""
        for option, file in self.stated:
            writable(file)
            if option != "--events" and Path(file).suffix.lower() not in _ENDINGS[option]:
                wanted = " or ".join(_ENDINGS[option])
                raise UsageError(f"{option} {file}: expected a file that ends in {wanted}")
        check_apart(self.stated)
        if self.timeline or self.plot:
            from takt.report.serving_plot import require_matplotlib  # only pictures need it

            require_matplotlib()


def sinks_of(
    outputs: Outputs, fleet: Fleet, about: About
) -> Iterator[AbstractContextManager[Sink]]:
    """Sinks of events, as blocks: at the end of each its file is written."""
    if outputs.events:
        yield _log(Path(outputs.events))
    if outputs.perfetto:
        yield _trace(Path(outputs.perfetto), fleet)
    if outputs.timeline:
        yield _timeline(Path(outputs.timeline), fleet, about)


@contextmanager
def _log(path: Path) -> Iterator[Sink]:
    with EventFile(path) as log:

        def add(rows: NDArray[np.void]) -> None:
            log.add(
                rows[rows["kind"] != EventKind.SAMPLE]
            )  # a log is the same with pictures and without

        yield add


@contextmanager
def _trace(path: Path, fleet: Fleet) -> Iterator[Sink]:
    from takt.report.serving_trace import ServingTrace  # brings the report room along

    trace = ServingTrace(fleet)
    yield trace.add
    left_out = trace.write(path)
    if left_out:
        sys.stderr.write(f"note: {path} is full: {left_out:,} later events are left out\n")


@contextmanager
def _timeline(path: Path, fleet: Fleet, about: About) -> Iterator[Sink]:
    from takt.report.serving_plot import write_timeline_plot  # matplotlib comes when it draws

    timeline = Timeline(fleet)
    yield timeline.add
    write_timeline_plot(path, timeline.series(), title=_title(about))


def plot(path: Path, outcome: Outcome, about: About) -> None:
    """Distributions of latencies, with the targets."""
    from takt.report.serving_plot import write_latency_plot  # matplotlib comes when it draws

    tier = about.built.fleet.tiers[0]
    named = (("ttft", tier.ttft_ns), ("tpot", tier.tpot_ns), ("e2e", tier.e2e_ns))
    targets = {name: most / 1e9 for name, most in named if most is not None}
    write_latency_plot(path, {about.model: outcome}, title=_title(about), targets=targets)


def _title(about: About) -> str:
    pools = " + ".join(f"{made.pool.replicas} × {made.pool.name}" for made in about.built.made)
    return f"{about.model} on {pools}: {about.workload}"
