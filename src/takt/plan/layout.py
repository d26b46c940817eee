"""Ways to lay a model over chips that are worth trying: powers of two, within a scale-up domain first.

Knows sizes (what fits), not times; `serve` finds out which way is best.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil

from takt.chips import Accelerator
from takt.errors import UsageError
from takt.models.outlines import Outline
from takt.perf import Deployment, Precision, engine_of, max_users, memory_of

from .request import Request

__all__ = ["Layout", "PairLayout", "fitting_deployments", "room_for_users"]

_OCTAVES = (
    5  # sizes tried from the smallest that fits: 1×, 2×, … 16×; with experts, in more ways, to 8×
)
_LEAST_CUT = (
    256  # an expert is cut over chips no narrower than this: kernels work on tiles of 128 or more
)
_MOST_TENSOR = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """A split: see `takt.perf.Deployment`."""

    tp: int = 1
    pp: int = 1
    dp: int = 1
    ep: int = 1

    @classmethod
    def of(cls, deployment: Deployment) -> "Layout":
        """The split of a deployment."""
        return cls(tp=deployment.tp, pp=deployment.pp, dp=deployment.dp, ep=deployment.ep)

    @property
    def chips(self) -> int:
        """Chips of one copy of the model."""
        return self.tp * self.pp * self.dp

    def __str__(self) -> str:
        parts = [f"{name}{getattr(self, name)}" for name in ("tp", "pp", "dp", "ep")]
        return " ".join(part for part in parts if not part.endswith("p1")) or "one chip"


@dataclass(frozen=True, slots=True, kw_only=True)
class PairLayout:
    """Two kinds of chips: `copies` of `first` beside one `second`; `readers` chips of the first kind only read prompts."""

    first: Layout
    copies: int
    second: Layout
    readers: int = 0

    @property
    def chips(self) -> int:
        """All chips of both kinds."""
        return self.first_chips + self.second.chips

    @property
    def first_chips(self) -> int:
        """Chips of the first kind."""
        return self.copies * self.first.chips + self.readers

    def __str__(self) -> str:
        return f"{self.first_chips} + {self.second.chips}"


def fitting_deployments(
    model: Outline, chip: Accelerator, precision: Precision, request: Request
) -> tuple[Deployment, ...]:
    """Deployments of at most `request.max_chips` that hold the weights and one user, fewest chips first.

    Within a scale-up domain: tensor parallelism; for experts also whole experts on chips, with attention
    cut or copied. Beyond it, if nothing fits there: stages of whole domains, and experts over the network.
    Raises UsageError with what is missing where none fits.
    """
    domain = _power_of_two(min(chip.scale_up.chips, request.max_chips, _MOST_TENSOR))
    if chip.scale_up.bytes_per_s is None:
        domain = 1
    found = _smallest(model, chip, precision, request, list(_within(model, domain)))
    if not found:
        found = _smallest(model, chip, precision, request, list(_beyond(model, domain, request)))
    if not found:
        raise _too_small(model, chip, precision, request, domain)
    return tuple(found)


def room_for_users(model: Outline, deployment: Deployment, request: Request) -> int:
    """Users whose caches fit; 0 where not even the weights do."""
    engine = engine_of(deployment.engine)
    memory = memory_of(
        model,
        deployment,
        request.context_tokens,
        reserve_fraction=engine.reserve_fraction,
        fixed_bytes=engine.fixed_bytes,
        activation_tokens=min(engine.chunk_tokens, request.prompt_tokens),
    )
    return 0 if memory.free_bytes <= 0 else max_users(memory, deployment)


def _power_of_two(most: int) -> int:
    return 1 << (most.bit_length() - 1)


def _powers(most: int) -> Iterator[int]:
    return (1 << i for i in range(most.bit_length()))


def _heads(model: Outline) -> int:
    return max((group.attention.n_heads for group in model.groups), default=1) or 1


def _experts(model: Outline) -> int:
    return max((group.ffn.n_experts for group in model.groups), default=0)


def _within(model: Outline, domain: int) -> Iterator[Layout]:
    experts = _experts(model)
    width = max((group.ffn.hidden_dim for group in model.groups if group.ffn.n_experts), default=0)
    for n in _powers(domain):
        if n <= _heads(model):
            whole = experts and width // n < _LEAST_CUT
            yield Layout(tp=n, ep=n if whole and n <= experts else 1)
        if 1 < n <= experts:
            yield Layout(dp=n, ep=n)


def _beyond(model: Outline, domain: int, request: Request) -> Iterator[Layout]:
    tensor = min(domain, _power_of_two(_heads(model)))
    for stages in range(2, min(request.max_chips // tensor, model.n_layers) + 1):
        yield Layout(tp=tensor, pp=stages)
    for n in _powers(request.max_chips):
        if domain < n <= _experts(model) and domain > 1:
            yield Layout(dp=n, ep=n)


def _smallest(
    model: Outline,
    chip: Accelerator,
    precision: Precision,
    request: Request,
    layouts: list[Layout],
) -> list[Deployment]:
    """Those that fit, from the fewest chips up to `_OCTAVES` doublings."""
    found: list[Deployment] = []
    octaves = _OCTAVES - 1 if model.has_experts else _OCTAVES
    for layout in sorted(layouts, key=lambda each: each.chips):
        if found and not _is_doubling(layout.chips, found[0].n_chips, octaves):
            continue
        deployment = _deployment(chip, layout, precision, request)
        if room_for_users(model, deployment, request) >= 1:
            found.append(deployment)
    return found


def _is_doubling(chips: int, fewest: int, octaves: int) -> bool:
    """Beside the fewest chips, only powers of two within the octaves are tried."""
    if chips == fewest:
        return True
    return chips & (chips - 1) == 0 and chips < fewest << octaves


def _deployment(
    chip: Accelerator, layout: Layout, precision: Precision, request: Request
) -> Deployment:
    return Deployment(
        chip=chip,
        tp=layout.tp,
        pp=layout.pp,
        dp=layout.dp,
        ep=layout.ep,
        precision=precision,
        engine=request.engine_on(chip),
    )


def _too_small(
    model: Outline, chip: Accelerator, precision: Precision, request: Request, domain: int
) -> UsageError:
    layout = Layout(tp=domain, pp=max(1, request.max_chips // domain))
    deployment = _deployment(chip, layout, precision, request)
    engine = engine_of(deployment.engine)
    memory = memory_of(
        model, deployment, request.context_tokens, reserve_fraction=engine.reserve_fraction, fixed_bytes=engine.fixed_bytes,
        activation_tokens=min(engine.chunk_tokens, request.prompt_tokens),
    )  # fmt: skip
    need = memory.weight_bytes + memory.user_bytes
    have = memory.capacity_bytes - memory.reserve_bytes
    where = "one chip" if layout.chips == 1 else f"each of {layout.chips} chips"
    text = f"too small: {need / 1e9:,.3g} GB of weights and cache on {where}, "
    if have <= 0:
        return UsageError(f"{text}and no room beside the engine's reserve")
    enough = ceil(need * layout.chips / have)
    return UsageError(
        f"{text}room for {have / 1e9:,.3g} GB",
        hint=f"about {enough:,} chips would hold it",
    )
