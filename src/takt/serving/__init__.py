"""Requests on replicas: what users of a fleet see, simulated event by event from what steps cost.

    fleet = Fleet(pools=(Pool(name="h100", replicas=4, table=..., policy=Policy()),))
    simulate(workload.requests(seed=0), fleet) -> Outcome

records    what goes in and out      scheduler  what one replica does next, sans-io    reference  the slow engine
fleet      pools, tiers, policies    step_table what a step costs                      fast       the same in C

Knows no models and no chips but through `tables`; what to buy is room `plan`'s question.
"""

from .fleet import Autoscale, Failure, Fleet, Policy, Pool, Tier
from .records import EVENT, FINISHED, REPLICA, REQUEST, EventKind, Fate
from .simulate import simulate
from .step_table import StepTable

__all__ = [
    "EVENT",
    "FINISHED",
    "REPLICA",
    "REQUEST",
    "Autoscale",
    "EventKind",
    "Failure",
    "Fate",
    "Fleet",
    "Policy",
    "Pool",
    "StepTable",
    "Tier",
    "simulate",
]
