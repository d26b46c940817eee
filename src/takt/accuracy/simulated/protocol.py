"""How a measurement with a constant number of users was run: how many requests, which of them count, and as what.

A row that gives its number of requests was run so; ``protocols.toml`` says it of sources that publish their recipe. Where
nobody does, the run is taken as long, and its begin and end are left out. Knows cases, and no simulation.
"""

import tomllib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Literal

from ..case import Case

__all__ = ["SPREAD", "Protocol", "Statistic", "protocol_of"]

Statistic = Literal["mean", "median"]
# Lengths that were drawn lie evenly within so much of their mean: 0.8 to 1 times a nominal length, as InferenceX draws them.
SPREAD = 1.0 / 9.0
_FILE = "protocols.toml"
_MOST_PER_USER = 64  # beyond, what comes at once at the begin no longer shows


@dataclass(frozen=True, slots=True, kw_only=True)
class Protocol:
    """A run of `n_requests` by `users`; None: longer than its begin shows, so that only the middle counts.

    `spread`: of lengths about their means. `ttft`: the figure over requests that was written down. `poll_steps`: the
    server looks for new requests once in so many steps of users alone.
    """

    users: int
    n_requests: int | None
    ttft: Statistic
    prompt_spread: float
    output_spread: float
    poll_steps: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class _Poll:
    """Servers that look for new requests once in `steps` steps, from so many users on."""

    engine: str
    chips: tuple[str, ...]
    models: tuple[str, ...]
    from_users: int
    steps: int

    def holds(self, case: Case, users: int) -> bool:
        model = case.model.lower()
        return (
            case.engine == self.engine
            and case.prefill is None
            and not case.speculative
            and case.chip.lower().startswith(self.chips)
            and any(word in model for word in self.models)
            and users >= self.from_users
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Source:
    """`of`: words in the note of the rows that it holds for, "" for all."""

    requests_per_user: int | None = None
    ttft: Statistic = "median"
    polls: tuple[_Poll, ...] = ()
    of: str = ""


def protocol_of(case: Case) -> Protocol:
    """The case's own number of requests, else its source's."""
    users = max(round(case.concurrency or 1.0), 1)
    source = _sources().get(case.dataset, _Source())
    if source.of and source.of not in case.note:
        source = _Source()
    n_requests = case.n_requests
    if n_requests is None and source.requests_per_user is not None:
        n_requests = users * source.requests_per_user
    if n_requests is not None and n_requests > users * _MOST_PER_USER:
        n_requests = None
    return Protocol(
        users=users if n_requests is None else min(users, n_requests),
        n_requests=n_requests,
        ttft=source.ttft,
        prompt_spread=_spread(case.prompt_tokens),
        output_spread=_spread(case.output_tokens),
        poll_steps=next((p.steps for p in reversed(source.polls) if p.holds(case, users)), 1),
    )


def _spread(mean_tokens: float | None) -> float:
    """Whole numbers are lengths as they were asked for; a mean that is none was drawn."""
    return 0.0 if mean_tokens is None or float(mean_tokens).is_integer() else SPREAD


@cache
def _sources() -> dict[str, _Source]:
    text = files("takt.accuracy.simulated").joinpath(_FILE).read_text(encoding="utf-8")
    table = tomllib.loads(text)
    found: dict[str, _Source] = {}
    for name, stated in table.items():
        entry = (table[stated["as"]] if "as" in stated else {}) | stated
        per_user = entry.get("requests_per_user", {}).get("value")
        polls = tuple(
            _Poll(**{**row, "chips": tuple(row["chips"]), "models": tuple(row["models"])})
            for row in entry.get("polls", {}).get("value", ())
        )
        found[name] = _Source(
            requests_per_user=per_user,
            ttft=entry["ttft"]["value"],
            polls=polls,
            of=entry.get("of", ""),
        )
    return found
