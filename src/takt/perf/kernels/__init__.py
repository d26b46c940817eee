"""How long a kernel takes on a chip: tables interpolated, or a roofline with fitted efficiencies.

Knows families of kernels (matrix products, attention, experts, collectives), not models or engines' overheads.
"""

from .model import Kernels, kernels_of

__all__ = ["Kernels", "kernels_of"]
