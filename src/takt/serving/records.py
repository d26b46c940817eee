"""What crosses the border of a simulation: requests in, finished requests and events out, as arrays of records.

One layout for Python and C alike (numpy's aligned structures), so that both engines read and write the same bytes. Times
are integer nanoseconds, sizes tokens. Knows no behaviour.
"""

from enum import IntEnum

import numpy as np

__all__ = ["EVENT", "FINISHED", "NOBODY", "REPLICA", "REQUEST", "EventKind", "Fate"]

NOBODY = -1  # no session, no group, no replica

# A request as it is sent. Rows are sorted by the arrival of turn 0; the later turns of a session follow it directly.
#   arrival_ns     turn 0: when it is sent; later turns: how long after the answer before it was complete
#   output_tokens  how long the answer will be: the world's to know, never the scheduler's
#   session        turns of one session read what earlier ones wrote; NOBODY without
#   group          requests of one group begin with the same group_tokens tokens; NOBODY without
#   seen_tokens    tokens at the start of the prompt that a recorded trace found cached, whoever wrote them
REQUEST = np.dtype(
    [
        ("arrival_ns", "<i8"),
        ("session", "<i8"),
        ("prompt_tokens", "<i4"),
        ("output_tokens", "<i4"),
        ("tier", "<i4"),
        ("turn", "<i4"),
        ("group", "<i4"),
        ("group_tokens", "<i4"),
        ("seen_tokens", "<i4"),
        ("_", "<i4"),
    ],
    align=True,
)


class Fate(IntEnum):
    """How a request ended."""

    DONE = 0
    REJECTED = 1  # the queue was longer than its tier may wait in
    TOO_LONG = 2  # its cache fits no replica


# A request that has ended, in the order of endings. Times are absolute; first_ns and scheduled_ns are -1 where it got
# no token, or was never scheduled. `request` counts rows of the source from 0.
FINISHED = np.dtype(
    [
        ("request", "<i8"),
        ("arrival_ns", "<i8"),
        ("scheduled_ns", "<i8"),
        ("first_ns", "<i8"),
        ("last_ns", "<i8"),
        ("prompt_tokens", "<i4"),
        ("output_tokens", "<i4"),
        ("cached_tokens", "<i4"),
        ("tier", "<i4"),
        ("replica", "<i4"),
        ("preemptions", "<i4"),
        ("fate", "<i4"),
        ("turn", "<i4"),
    ],
    align=True,
)


class EventKind(IntEnum):
    """What happened; the comment says what `a` to `d` of the record hold."""

    ARRIVE = 0  # reaches the router; a: prompt tokens
    ROUTE = 1  # joins a replica's queue; a: requests there before it
    REJECT = 2  # a: Fate
    ADMIT = 3  # leaves the queue for a step; a: tokens found in the cache, b: tokens to read
    FIRST = 4  # its first token
    FINISH = 5  # its last token; a: tokens of the answer
    PREEMPT = 6  # back to the queue; a: tokens whose cache is lost
    SEND = 7  # its cache leaves for another replica; a: that replica, b: when it will be there
    RECEIVE = 8  # its cache is there
    LOSE = 9  # its replica failed; back to the router
    STEP = 10  # a replica begins a step; a: ns it takes, b: users generating, c: prompt tokens read, d: blocks in use
    START = 11  # a replica is started
    UP = 12  # it takes requests
    DRAIN = 13  # it takes no more
    OFF = 14  # it is switched off
    FAIL = 15  # it fails; a: ns until it is up again
    SAMPLE = (
        16  # a look at a replica; a: running, b: waiting, c: blocks in use, d: 1 where it is up
    )


# One thing that happened. `request` is NOBODY for events of replicas, `replica` NOBODY for those of the router.
EVENT = np.dtype(
    [
        ("time_ns", "<i8"),
        ("request", "<i8"),
        ("kind", "<i4"),
        ("replica", "<i4"),
        ("a", "<i8"),
        ("b", "<i8"),
        ("c", "<i8"),
        ("d", "<i8"),
    ],
    align=True,
)

# What a replica did in all.
#   on_ns       from its start to its end: what is paid for
#   block_ns    blocks in use × nanoseconds of steps
#   energy_j    of its steps; idle time is the reader's to add
REPLICA = np.dtype(
    [
        ("on_ns", "<i8"),
        ("busy_ns", "<i8"),
        ("steps", "<i8"),
        ("generated_tokens", "<i8"),
        ("read_tokens", "<i8"),
        ("cached_tokens", "<i8"),
        ("sent_tokens", "<i8"),
        ("preemptions", "<i8"),
        ("failures", "<i8"),
        ("peak_blocks", "<i8"),
        ("block_ns", "<f8"),
        ("energy_j", "<f8"),
    ],
    align=True,
)
