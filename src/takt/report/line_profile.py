"""A system's schedule as figures: the critical path of a token, and how much of each unit was in use."""

from __future__ import annotations

from dataclasses import dataclass

from takt.report.critical import CriticalPath, critical_path
from takt.report.line import SystemSchedule
from takt.report.use import SystemUse, system_use


@dataclass(frozen=True, slots=True, kw_only=True)
class SystemProfile:
    """Where the cycles of a step went, and what they were used for."""

    path: CriticalPath
    use: tuple[SystemUse, ...]

    @staticmethod
    def of(system: SystemSchedule) -> SystemProfile:
        """The figures of a schedule."""
        return SystemProfile(path=critical_path(system), use=system_use(system))
