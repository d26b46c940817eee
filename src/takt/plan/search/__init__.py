"""The search for a plan: which chips, how many, how arranged, for traffic, targets and limits.

    search(Question(model=..., traffic=Traffic(source=..., rate=50)), Offer(accelerators=...)) -> PlanSet

question   what is asked                   parts, lpu_parts   kinds of replicas      candidates  ways to serve
traffic    requests and their sizes        reach              the bound of one       front       who beats whom
site       power, carbon, floor            trial, size        simulations            finder      the search
limits     money, power, chips, supply     mixed              fleets of many kinds   what_if     what would change it

Brings the LPU's compiler along, as the other wings of this room do.
"""

from .candidates import Offer
from .question import Question
from .search import search
from .site import Site, default_site
from .traffic import Traffic

__all__ = ["Offer", "Question", "Site", "Traffic", "default_site", "search"]
