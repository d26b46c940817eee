"""Which chips, how many, laid out how: models on chips, searched for what meets a latency target.

    compare(outline_of("llama-3.3-70b"), [load_accelerator("h200-sxm")], Request(prompt_tokens=1024))

request    what is asked            precision  number types on a chip     layout  splits worth trying
serve      a split at all loads     money      dollars an hour            compare one row a chip

The wings ``lpus`` and ``hybrids`` make rows of LPUs and of two kinds of chips together; they bring the LPU's
compiler along, so nothing here imports them.
"""

from .compare import FIGURES, Compared, Known, Point, check_length, compare
from .layout import Layout, PairLayout
from .money import Price, Tenure
from .request import PRECISIONS, Request
from .serve import Load

__all__ = [
    "FIGURES",
    "PRECISIONS",
    "Compared",
    "Known",
    "Layout",
    "Load",
    "PairLayout",
    "Point",
    "Price",
    "Request",
    "Tenure",
    "check_length",
    "compare",
]
