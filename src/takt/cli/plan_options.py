"""Options of `takt plan` as values of the search: traffic, targets, limits, chips.

Knows the words of the command line; nothing of plans.
"""

from collections.abc import Mapping, Sequence
from math import isfinite

from takt.cli.arguments import check_named, number_pairs, say_note, seconds_of
from takt.cli.compare_chips import DEFAULT_PAIRS, choose_chips, choose_pair, default_chips
from takt.errors import UsageError, did_you_mean
from takt.plan import PRECISIONS
from takt.plan.lpus import Lpus
from takt.plan.plans import Limits, Targets
from takt.plan.search import Offer, Traffic
from takt.serving.workloads import workload_of

__all__ = [
    "limits_of",
    "names_of",
    "offer_of",
    "precisions_of",
    "targets_of",
    "traffic_of",
]

_ENDLESS = 1 << 30
_PROMPT, _OUTPUT = "1024", "256"
_MOST_CHIPS = 1 << 40


def traffic_of(
    rate: float | None,
    prompt: str | None,
    output: str | None,
    trace: str | None,
    *,
    cv: float | None,
    turns: str | None,
    prefix: str | None,
) -> Traffic:
    """A workload with a rate: stated, or that of the recording. UsageError where there is none.

    What was noticed while the recording was read goes to stderr.
    """
    if rate is None and trace is None:
        raise UsageError("how many requests a second?", hint="say --rate 50, or --trace FILE")
    if rate is not None and not (isfinite(rate) and 0 < rate <= 1e6):
        raise UsageError(f"--rate {rate:g}: expected more than 0 and at most 1,000,000 requests/s")
    if trace is None:
        prompt, output = prompt or _PROMPT, output or _OUTPUT
    source = workload_of(
        trace, rate=rate, prompt=prompt, output=output, cv=cv, turns=turns, prefix=prefix,
        requests=None if trace else _ENDLESS, note=say_note,
    )  # fmt: skip
    found = rate if rate is not None else source.requests_per_s
    if found is None:
        raise UsageError(f"{trace} says no rate", hint="say --rate 50")
    return Traffic(source=source, rate=found)


def targets_of(
    ttft: Mapping[str, str | None], tpot: Mapping[str, str | None], e2e_p99: str | None
) -> Targets:
    """At one percentile each: the one that was said, else 1 s at p99 and 20 ms on average; `any` for none."""
    ttft_at, ttft_s = _target("--ttft", ttft, "p99", 1.0)
    tpot_at, tpot_s = _target("--tpot", tpot, "mean", 0.020)
    e2e_s = None if e2e_p99 in (None, "any") else seconds_of("--e2e-p99", e2e_p99 or "")
    return Targets(ttft_s=ttft_s, ttft_at=ttft_at, tpot_s=tpot_s, tpot_at=tpot_at, e2e_s=e2e_s)


def _target(
    option: str, said: Mapping[str, str | None], usual_at: str, usual_s: float
) -> tuple[str, float | None]:
    stated = [(at, text) for at, text in said.items() if text is not None]
    if not stated:
        return usual_at, usual_s
    if len(stated) > 1:
        raise UsageError(
            f"{option} is asked for at {' and '.join(at for at, _ in stated)}",
            hint="choose one of them",
        )
    ((at, text),) = stated
    name = option if at == "mean" else f"{option}-{at}"
    return at, None if text == "any" else seconds_of(name, text)


def limits_of(
    usd_per_h: float | None,
    mw: float | None,
    chips: int | None,
    supply: str | None,
    names: Sequence[str],
) -> Limits:
    """Limits on money, power and chips. UsageError for what is none, or for chips that are not looked at."""
    for option, value in (("--max-usd-per-h", usd_per_h), ("--max-mw", mw), ("--max-chips", chips)):
        if value is not None and not (isfinite(value) and value > 0):
            raise UsageError(f"{option} {value:g}: expected more than 0")
    have: dict[str, int] = {}
    hint = "how many there are of a chip: --supply h200-sxm=512,lpu-v1=0"
    texts = [] if supply is None else supply.split(",")
    for name, number in number_pairs("--supply", texts, "supply", hint):
        if number != int(number) or not 0 <= number <= _MOST_CHIPS:
            raise UsageError(
                f"--supply {name}={number:g}: expected a whole number of chips", hint=hint
            )
        check_named("--supply of", name, names)
        have[name] = int(number)
    return Limits(usd_per_h=usd_per_h, mw=mw, chips=chips, supply=have)


def offer_of(chips: str | None, hybrids: Sequence[str], *, apart: bool) -> Offer:
    """The chips named, or all of datacenters with LPUs and a pair for each LPU."""
    chosen = choose_chips(chips) if chips is not None else default_chips()
    pairs = [choose_pair(pair) for pair in hybrids or (DEFAULT_PAIRS if chips is None else ())]
    return Offer(
        accelerators=chosen.accelerators,
        systems=tuple(Lpus.of(source, name) for name, source in chosen.systems.items()),
        pairs=tuple((pair.gpu, Lpus.of(pair.source, pair.lpu)) for pair in pairs),
        apart=apart,
    )


def names_of(offer: Offer) -> list[str]:
    """Ids of all chips of an offer."""
    names = [chip.id for chip in offer.accelerators] + [lpus.label for lpus in offer.systems]
    names += [name for gpu, lpus in offer.pairs for name in (gpu.id, lpus.label)]
    return list(dict.fromkeys(names))


def precisions_of(text: str) -> tuple[str, ...]:
    """`fp8,bf16` → both."""
    names = tuple(name.strip() for name in text.split(","))
    for name in names:
        if name not in PRECISIONS:
            hint = did_you_mean(name, PRECISIONS) or f"known are {', '.join(PRECISIONS)}"
            raise UsageError(f"no precision '{name[:40]}'", hint=hint)
    return names
