"""The machine this runs on, as its system describes it: processor, cores, memory, caches.

Reads what Linux and POSIX say; what they do not say is None. Measures nothing.
"""

import os
import platform
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Host", "describe_host"]

_CPUINFO = Path("/proc/cpuinfo")
_MEMINFO = Path("/proc/meminfo")
_CACHES = Path("/sys/devices/system/cpu")
# cgroup version 2, then version 1: a container may have less than the machine.
_LIMITS = (
    Path("/sys/fs/cgroup/memory.max"),
    Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
)
_VENDORS = {"GenuineIntel": "Intel", "AuthenticAMD": "AMD"}
_SCALES = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """What is known of the machine. `cores` are logical ones that this process may use.

    `caches`: (level, bytes of all caches of that level together), from level 1 on; empty if unknown.
    `free_bytes`: memory that could be had now.
    """

    model: str
    vendor: str
    architecture: str
    cores: int
    memory_bytes: int
    free_bytes: int
    caches: tuple[tuple[int, int], ...]

    @property
    def cache_bytes(self) -> int:
        """All caches together, 0 where unknown."""
        return sum(size for _, size in self.caches)


def describe_host() -> Host:
    """The machine, or the part of it that this process may use."""
    info = _cpuinfo()
    whole = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    memory_bytes = min([whole, *_limits()])
    model = _line(info.get("model name", "") or platform.processor() or platform.machine())
    vendor_id = info.get("vendor_id", "")
    return Host(
        model=model,
        vendor=_VENDORS.get(vendor_id) or _line(vendor_id or model.split(" ")[0]),
        architecture=_line(platform.machine()),
        cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else _all_cores(),
        memory_bytes=memory_bytes,
        free_bytes=min(_available() or memory_bytes, memory_bytes),
        caches=_caches(),
    )


def _all_cores() -> int:
    return os.cpu_count() or 1


def _line(text: str) -> str:
    """One printable line, whatever the firmware holds."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())[:200] or "unknown"


def _cpuinfo() -> dict[str, str]:
    """The lines about the first processor."""
    first = _read(_CPUINFO).partition("\n\n")[0]
    pairs = (line.partition(":") for line in first.splitlines())
    return {key.strip(): value.strip() for key, _, value in pairs}


def _limits() -> Iterator[int]:
    for path in _LIMITS:
        text = _read(path).strip()
        if text.isdigit() and int(text) > 0:
            yield int(text)


def _available() -> int | None:
    """Bytes that could be had without swapping, if the system says."""
    match = re.search(r"^MemAvailable: *(\d+) kB$", _read(_MEMINFO), re.MULTILINE)
    return 1024 * int(match[1]) if match else None


def _caches() -> tuple[tuple[int, int], ...]:
    """Bytes of data by level. A cache that several cores share lies in the folder of each."""
    found = set()
    for folder in _CACHES.glob("cpu[0-9]*/cache/index[0-9]*"):
        names = ("level", "type", "size", "shared_cpu_list")
        level, kind, size, shared = (_read(folder / name).strip() for name in names)
        match = re.fullmatch(r"(\d+)([KMG]?)", size)
        if match and level.isdigit() and kind != "Instruction":
            found.add((int(level), kind, shared, int(match[1]) * _SCALES[match[2]]))
    levels = sorted({level for level, *_ in found})
    return tuple((n, sum(size for level, _, _, size in found if level == n)) for n in levels)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
