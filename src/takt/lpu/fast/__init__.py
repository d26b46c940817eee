"""The fast engine: programs proved once, then run as one tape of vector operations.

`lift` turns a program into values and their order, `tape` gives them places, `_kernels.c` computes, `engine` is the face.
"""

from takt.lpu.fast.engine import FastEngine
from takt.lpu.fast.prepared import Prepared
from takt.lpu.fast.system import FastSystem, PreparedSystem

__all__ = ["FastEngine", "FastSystem", "Prepared", "PreparedSystem"]
