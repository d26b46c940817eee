"""Model × chip → static programs.

`compile_model` places a model on a chip once; its programs (one decode step per block of context) are compiled when first
asked for and share that placement. Passes: `passes`. How a step is laid out: `lower`. Times: `schedule`.
"""

from takt.lpu.compiler.bound import Bound
from takt.lpu.compiler.compile import Compiled, Step, compile_model
from takt.lpu.compiler.passes import PASSES
from takt.lpu.compiler.schedule import Placed

__all__ = ["PASSES", "Bound", "Compiled", "Placed", "Step", "compile_model"]
