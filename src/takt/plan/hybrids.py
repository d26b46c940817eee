"""Two kinds of chips on one model: prompts on GPUs and tokens on LPUs, or attention on GPUs and feed-forward on LPUs.

Either way GPUs read the prompts, in as many copies as keep them busy 70 % of the time at most. *Tokens*: the cache crosses the
link once and LPUs generate. *Ffn*: caches stay on GPUs, LPUs hold the feed-forward weights only, and each token's
activations cross twice a layer, in micro-batches that take turns. Knows no schedules and no kernels, only their times.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from takt.chips import Accelerator
from takt.errors import CapacityError, UnsupportedError, UsageError
from takt.models.outlines import Outline
from takt.perf.lpu import Link, kv_transfer_s, link_of, split_ttft_s

from .afd import ffn_loads
from .compare import FIGURES, Compared, Known, Point, pareto
from .layout import PairLayout, fitting_deployments
from .lpus import Lpus, Pipeline, pipelines_of
from .money import Price, Tenure, price_of
from .pairs import Floats, Loads, Reader, reader_of
from .precision import choose_precision, precision_name
from .request import Request
from .serve import Load

__all__ = ["SHARES", "Share", "compare_pair", "link_beside"]

Share = Literal["tokens", "ffn"]
SHARES: tuple[Share, ...] = ("tokens", "ffn")


def compare_pair(
    model: Outline,
    gpu: Accelerator,
    lpus: Lpus,
    request: Request,
    *,
    share: Share,
    max_chips: int | None = None,
    tenure: Tenure = "rent",
    prices: Mapping[str, float] | None = None,
) -> Compared:
    """The row of GPUs that read prompts and LPUs that do what `share` says.

    `max_chips` bounds all chips of both kinds together; None: as many as it takes.
    """
    precision = choose_precision(model, gpu, request.precision)
    words = {"tokens": "prompt/tokens", "ffn": "attention/ffn"}[share]
    row = Compared(
        chip=f"{gpu.id} + {lpus.label} ({words})",
        name=f"{gpu.name} and {lpus.system.chip.name} in {lpus.system.name}",
        power_basis="chips as drawn",
        precision=precision_name(precision),
        engine=request.engine_on(gpu),
        known={},
    )
    link = link_beside(lpus)
    try:
        deployments = fitting_deployments(model, gpu, precision, request)
        readers = [reader_of(model, each, request) for each in deployments]
        loads = (
            _token_loads(model, gpu, lpus, request, readers, link)
            if share == "tokens"
            else ffn_loads(model, gpu, lpus, request, readers, link)
        )
        every = list(loads)
    except (CapacityError, UnsupportedError, UsageError) as error:
        return replace(row, reason=f"{error}")
    return _filled(row, every, request, _prices(gpu, lpus.label, tenure, prices), max_chips)


# The link that the makers of each system show beside GPUs.
_LINKS = {"groqrack-v1": "pcie-gen4", "lpx-rack": "lpx-bridge"}


def link_beside(lpus: Lpus) -> Link:
    """What joins a system of LPUs to GPUs: as its makers show it, else a network."""
    return link_of(_LINKS.get(lpus.system.id, "ethernet-400"))


def _token_loads(
    model: Outline,
    gpu: Accelerator,
    lpus: Lpus,
    request: Request,
    readers: Sequence[Reader],
    link: Link,
) -> Iterator[Loads]:
    """Prompt on the GPUs, tokens on the LPUs; the cache crosses layer by layer while the prompt is read."""
    for line in pipelines_of(model, lpus, request, reads=False):
        for reader in readers:
            links = max(1, line.layout.chips // lpus.system.node.chips)
            crossing = kv_transfer_s(model, request.prompt_tokens, link, n_links=links)
            crossing = max(crossing, _out_s(model, gpu, reader, request))
            rate = line.tokens_per_s / request.output_tokens
            ttft = split_ttft_s(
                reader.waited_s(rate), crossing, line.ttft_s, layers_sent=model.n_layers
            )
            yield Loads(
                layout=_pair_layouts(reader, rate, line),
                users=line.users,
                ttft_s=ttft,
                tpot_s=line.tpot_s,
                tokens_per_s=line.tokens_per_s,
                j_per_token=line.j_per_token + reader.prompt_j / request.output_tokens,
                basis=line.basis | reader.basis | link.basis,
                error=max(line.error, reader.error),
            )


def _pair_layouts(reader: Reader, rate: Floats, line: Pipeline) -> tuple[PairLayout, ...]:
    return tuple(
        PairLayout(first=reader.layout, copies=0, second=line.layout, readers=int(chips))
        for chips in reader.chips_for(rate)
    )


def _out_s(model: Outline, gpu: Accelerator, reader: Reader, request: Request) -> float:
    """Seconds in which the GPUs' own network ports send a prompt's cache; 0 where nothing is known of them."""
    rate = gpu.scale_out.bytes_per_s
    return (
        0.0
        if rate is None
        else model.kv_bytes(request.prompt_tokens, 2.0) / (rate * reader.layout.chips)
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Prices:
    """Prices of either kind, None where unknown."""

    gpu: Price | None
    lpu: Price | None

    def of(self, layout: PairLayout) -> Price | None:
        """The mean price of a chip of the pair; None where one is not known."""
        if self.gpu is None or self.lpu is None:
            return None
        usd = self.gpu.usd_per_h * layout.first_chips + self.lpu.usd_per_h * layout.second.chips
        return replace(self.gpu, usd_per_h=usd / layout.chips)


def _prices(
    gpu: Accelerator, lpu: str, tenure: Tenure, prices: Mapping[str, float] | None
) -> _Prices:
    given = prices.get(lpu) if prices else None
    return _Prices(
        gpu=price_of(gpu, tenure, prices),
        lpu=None if given is None else Price(usd_per_h=given, kind="given"),
    )


def _filled(
    row: Compared,
    every: Sequence[Loads],
    request: Request,
    prices: _Prices,
    max_chips: int | None,
) -> Compared:
    """The row with the best of all loads."""
    within = [(loads, loads.chips <= (max_chips or np.inf)) for loads in every]
    within = [(loads, fits) for loads, fits in within if fits.any()]
    needs = int(min(loads.chips.min() for loads in every))
    if not within:
        return replace(row, needs_chips=needs, reason=f"too small: the pair needs {needs:,} chips")
    alone = min((loads.load(int(np.argmax(fits))) for loads, fits in within), key=_pace)
    row = replace(row, alone=alone, needs_chips=needs, frontier=_frontier(within))
    met = [(loads, fits & _meets(loads, request)) for loads, fits in within]
    met = [(loads, meets) for loads, meets in met if meets.any()]
    if not met:
        tpot_s, ttft_s = 1e3 * alone.tpot_s, alone.ttft_s
        reason = f"target missed: {tpot_s:.3g} ms a token, first token after {ttft_s:.3g} s"
        return replace(row, reason=reason, known=_known(every[0], None))
    best = [loads.load(int(np.argmax(np.where(meets, loads.per_chip, -1)))) for loads, meets in met]
    index = int(np.argmax([load.tokens_per_s_chip for load in best]))
    served = best[index]
    price = prices.of(served.layout) if isinstance(served.layout, PairLayout) else None
    return replace(
        row,
        chips=int(min(loads.chips[meets].min() for loads, meets in met)),
        served=served,
        price=price,
        chip_w=served.j_per_token * served.tokens_per_s_chip,
        known=_known(met[index][0], price),
    )


def _pace(load: Load) -> float:
    return load.tpot_s


def _meets(loads: Loads, request: Request) -> NDArray[np.bool_]:
    meets = np.asarray(loads.tpot_s <= request.tpot_s)
    return meets if request.ttft_s is None else meets & (loads.ttft_s <= request.ttft_s)


def _known(loads: Loads, price: Price | None) -> dict[str, Known]:
    basis = "; ".join(sorted(loads.basis))
    known = {name: Known(basis=basis, expected_error=loads.error) for name in FIGURES}
    known["j_per_token"] = Known(basis=basis, expected_error=None)
    if price is None:
        known["usd_per_mtok"] = Known(basis="no price known", expected_error=None)
    return known


def _frontier(within: Sequence[tuple[Loads, NDArray[np.bool_]]]) -> tuple[Point, ...]:
    speed = np.concatenate([1 / loads.tpot_s[fits] for loads, fits in within])
    rate = np.concatenate([loads.per_chip[fits] for loads, fits in within])
    joules = np.concatenate([loads.j_per_token[fits] for loads, fits in within])
    return tuple(
        Point(
            tokens_per_s_user=float(speed[i]),
            tokens_per_s_chip=float(rate[i]),
            tokens_per_s_mw=1e6 / float(joules[i]),
        )
        for i in pareto(speed, rate)
    )
