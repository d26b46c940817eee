"""Which replica a request goes to. Each rule looks at what is known on arrival only; ties go to the lowest number."""

from collections.abc import Sequence
from operator import attrgetter

from takt.errors import UsageError

from .fleet import Fleet
from .replica import Replica
from .scheduler import Ticket

__all__ = ["choose"]


def choose(
    fleet: Fleet, ready: Sequence[Replica], turn: int, ticket: Ticket, now_ns: int, due_ns: int
) -> Replica:
    """The replica for a request, of those that are up. `turn`: number after the replica that was chosen last.

    - `round-robin`: the next in turn.
    - `least-loaded`: fewest requests there or on their way.
    - `prefix-aware`: most blocks of the prompt in its cache, then fewest requests; the idlest, where that one has more than
      `fleet.imbalance` requests beyond it.
    - `deadline-aware`: fewest requests among those that would read all before it, and it, by the time it is due; if none
      would, the one that would first.
    """
    if fleet.router == "round-robin":
        return min(ready, key=lambda each: (each.number - turn) % fleet.n_replicas)
    idlest = min(ready, key=attrgetter("load"))
    if fleet.router == "least-loaded":
        return idlest
    if fleet.router == "prefix-aware":
        best = max(ready, key=lambda each: (_found(each, ticket), -each.load))
        return idlest if best.load > idlest.load + fleet.imbalance else best
    if fleet.router == "deadline-aware":
        in_time = [each for each in ready if now_ns + _reading_ns(each, ticket) <= due_ns]
        if in_time:
            return min(in_time, key=attrgetter("load"))
        return min(ready, key=lambda each: _reading_ns(each, ticket))
    raise UsageError(f"no router '{fleet.router}'")


def _found(replica: Replica, ticket: Ticket) -> int:
    return sum(replica.scheduler.cache.found(ticket.text, ticket.tokens - 1))


def _reading_ns(replica: Replica, ticket: Ticket) -> int:
    """Until all that waits at a replica is read, and the request itself, at the pace of full steps."""
    tokens = replica.scheduler.backlog_tokens + ticket.tokens
    return tokens * replica.pool.read_ns_per_token
