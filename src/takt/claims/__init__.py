"""Public claims about LPUs, and about other chips against each other, beside Takt's own figure for the same machine.

    load_claims()              every claim with its source, and which computation answers it
    evaluate(CLAIMS)           one row a claim: published, Takt's, the ratio, and why they differ
    write_claims_plot(...)     the ratios as a picture

sheet   claims as data (claims.toml)         compute   the computations, each a call of another room
answer  rows, computed in few processes      plot      the picture
beside, megawatts   one kind of chip against another, by steps of room `perf` (steps)
"""

from takt.claims.answer import Row, evaluate
from takt.claims.plot import write_claims_plot
from takt.claims.sheet import Claim, Source, find_claims, load_claims

__all__ = [
    "Claim",
    "Row",
    "Source",
    "evaluate",
    "find_claims",
    "load_claims",
    "write_claims_plot",
]
