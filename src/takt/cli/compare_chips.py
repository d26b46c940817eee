"""Which chips `takt compare` shows: those named, or all that datacenters buy and rent.

Knows names and kinds only; LPUs are answered from schedules of systems, other chips from kernels.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from takt.chips import Accelerator, Chip, System, load_accelerator, load_system
from takt.chips.lookup import load_any
from takt.errors import UsageError
from takt.plan import Compared

__all__ = [
    "DEFAULT_CHIPS",
    "DEFAULT_LPUS",
    "DEFAULT_PAIRS",
    "Chosen",
    "Pair",
    "choose_chips",
    "choose_pair",
    "default_chips",
]

DEFAULT_CHIPS = (
    "a100-sxm",
    "h100-sxm",
    "h200-sxm",
    "h20",
    "b200-sxm",
    "b300-sxm",
    "gb200-nvl72",
    "gb300-nvl72",
    "vera-rubin-nvl72",
    "l40s",
    "rtx-pro-6000",
    "mi300x",
    "mi325x",
    "mi355x",
    "gaudi3",
    "tpu-v5e",
    "tpu-v5p",
    "tpu-v6e",
    "tpu7x",
    "trainium2",
    "trainium3",
    "inferentia2",
    "cerebras-wse3",
    "positron-atlas",
    "sn40l",
    "xeon-8480",
    "epyc-9755",
)
DEFAULT_LPUS = ("lpu-v1", "lp30")
_RACKS = ("groqrack-v1", "lpx-rack")  # an LPU alone holds no such model: its rack answers
DEFAULT_PAIRS = ("h200-sxm+lpu-v1", "vera-rubin-nvl72+lp30")  # one for each LPU
MOST_CHIPS = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """A chip that reads prompts, and the LPU named `lpu` beside it; `source` is its system's id or file."""

    gpu: Accelerator
    lpu: str
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """Chips to compare: `ids` all of them, as rows name them and in their order; `systems` name → id or file."""

    ids: tuple[str, ...]
    accelerators: tuple[Accelerator, ...]
    systems: Mapping[str, str]

    def place(self, row: Compared) -> int:
        """Where the row stands in the order in which chips were named; others last."""
        return self.ids.index(row.chip) if row.chip in self.ids else len(self.ids)


def default_chips() -> Chosen:
    """All chips of datacenters, and LPUs."""
    chips = [(chip_id, load_accelerator(chip_id)) for chip_id in DEFAULT_CHIPS]
    return _chosen([*chips, *((lpu, load_any(lpu)) for lpu in DEFAULT_LPUS)])


def choose_chips(text: str) -> Chosen:
    """Those named: ids, other spellings or .toml files, with commas between; an LPU means its rack.

    Raises UsageError for an empty list, a name that is none (with the nearest), and for one named twice.
    """
    names = [name.strip() for name in text.split(",")]
    if not all(names):
        raise UsageError(f"--chips {text[:60]!r}: expected names with commas between")
    if len(names) > MOST_CHIPS:
        raise UsageError(f"--chips: {len(names)} chips, expected at most {MOST_CHIPS}")
    return _chosen([(name, load_any(name)) for name in names])


def choose_pair(text: str) -> Pair:
    """`h200-sxm+lpu-v1`: UsageError unless it is one chip of either kind."""
    names = [name.strip() for name in text.split("+")]
    if len(names) != 2 or not all(names):
        hint = "a GPU and an LPU, such as h200-sxm+lpu-v1"
        raise UsageError(f"--hybrid {text[:60]!r} is no pair", hint=hint)
    first, second = (load_any(name) for name in names)
    if not isinstance(first, Accelerator) or isinstance(second, Accelerator):
        hint = "first what reads the prompt, then the LPU: h200-sxm+lpu-v1"
        raise UsageError(f"--hybrid {text[:60]!r}: expected a GPU and an LPU", hint=hint)
    return Pair(gpu=first, lpu=second.id, source=_system_of(names[1], second))


def _chosen(found: Sequence[tuple[str, Accelerator | Chip | System]]) -> Chosen:
    ids = tuple(each.id for _, each in found)
    twice = [chip_id for chip_id in ids if ids.count(chip_id) > 1]
    if twice:
        raise UsageError(f"chip '{twice[0]}' is named twice")
    return Chosen(
        ids=ids,
        accelerators=tuple(each for _, each in found if isinstance(each, Accelerator)),
        systems={
            each.id: _system_of(name, each)
            for name, each in found
            if not isinstance(each, Accelerator)
        },
    )


def _system_of(name: str, found: Chip | System) -> str:
    """Id or file of the system: the one named, or the rack of the LPU named."""
    if isinstance(found, System):
        return name
    for rack in _RACKS:
        if load_system(rack).chip.id == found.id:
            return rack
    raise UsageError(
        f"LPU {found.id} is in none of the systems {', '.join(_RACKS)}",
        hint="name a system of it, or a .toml file of one",
    )
