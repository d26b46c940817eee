"""Small fleets and requests, run by the slow engine: what tests of results look at."""

import numpy as np
from numpy.typing import NDArray

from takt.serving.fleet import Fleet, Policy, Pool
from takt.serving.records import NOBODY, REQUEST
from takt.serving.step_table import Axis, Grid, StepTable

S, MS = 10**9, 10**6


def constant(value: float) -> Grid:
    return Grid(x=Axis([1]), y=Axis([1]), values=np.array([[value]]))


TABLE = StepTable(
    tokens_ns=np.arange(0.0, 9000) * 2e4, rows_ns=np.array([0.0, 1e6]), decode_ns=constant(9e6), prompt_ns=constant(2e6),
    floor_ns=np.zeros(1), factor=constant(1.0), decode_w=constant(500.0), prompt_w=600.0, idle_w=100.0,
    basis=frozenset({"measured: here"}), decode_error=0.05, prompt_error=0.2, energy_error=0.1,
)  # fmt: skip


def pool(name: str = "gpu", **kinds: object) -> Pool:
    facts: dict[str, object] = {
        "name": name, "replicas": 2, "table": TABLE, "policy": Policy(n_blocks=100), "chip": "h100-sxm",
        "chips": 2, "usd_per_h": 7.2,
    }  # fmt: skip
    return Pool(**{**facts, **kinds})  # type: ignore[arg-type]


def requests(n: int, *, rate: float, seed: int = 0, most_prompt: int = 900) -> NDArray[np.void]:
    """Poisson arrivals; prompts up to `most_prompt` tokens, answers up to 60."""
    rng = np.random.default_rng(seed)
    rows = np.zeros(n, REQUEST)
    rows["arrival_ns"] = np.cumsum(rng.exponential(S / rate, n)).astype(np.int64)
    rows["session"] = rows["group"] = NOBODY
    rows["prompt_tokens"] = rng.integers(1, most_prompt, n)
    rows["output_tokens"] = rng.integers(1, 60, n)
    return rows


def split_fleet() -> Fleet:
    """One replica reads, two write; looked at ten times a second."""
    read = pool("read", replicas=1, role="prompt", send_ns_per_token=1000.0, send_ns=MS)
    return Fleet(pools=(read, pool("write", role="decode")), sample_ns=100 * MS)
