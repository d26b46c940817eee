"""The machine in front of you as a chip: measured, and written down as an accelerator's file.

    measured = measure(describe_host())
    write_sheet(Path("host.toml"), sheet_of(measured, "host"))

Power and price are left out: no library measures them everywhere.
"""

from takt.chips.measure.host import Host, describe_host
from takt.chips.measure.rates import Effort, Measured, measure
from takt.chips.measure.sheet import check_path, sheet_of, write_sheet

__all__ = [
    "Effort",
    "Host",
    "Measured",
    "check_path",
    "describe_host",
    "measure",
    "sheet_of",
    "write_sheet",
]
