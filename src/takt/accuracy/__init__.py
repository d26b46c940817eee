"""The accuracy room: what was measured elsewhere, as cases that a prediction can be held against.

    read_cases(Path("inferencex.csv.gz"))     cases and skips of any file of measurements that is known

Knows files of measurements and what their columns mean. Does not know how a prediction is made.
"""

from takt.accuracy.case import Case, Limits, Load, Measured, Skip, Split
from takt.accuracy.readers import Defaults, read_cases

__all__ = ["Case", "Defaults", "Limits", "Load", "Measured", "Skip", "Split", "read_cases"]
