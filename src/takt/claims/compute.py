"""The computations behind claims: each calls another room and gives named quantities with their basis.

Claims about one machine share a computation: `task_of` drops what they differ in. Does not know what was published.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import msgspec

from takt.chips import Chip, System, load_chip, load_system
from takt.claims.beside import bandwidth_share, beside, memory_ratio, work_price
from takt.claims.found import Answer
from takt.claims.megawatts import per_megawatt
from takt.claims.sheet import Computation
from takt.errors import CapacityError, UnsupportedError
from takt.lpu import compile_model
from takt.lpu.encoders import compile_encoder
from takt.lpu.kernels import all_reduce_cycles, barrier_cycles, weight_load_cycles
from takt.lpu.system import (
    Pace,
    SystemCompiled,
    best_speculation,
    compile_system,
    fewest_chips,
    most_users,
    require_supported,
    summarise_system,
)
from takt.lpu.vision import compile_vision, resnet50_graph
from takt.models import SHAPES, ModelShape, random_model, shape_of
from takt.units import cycles_to_ns

FACTS = "arithmetic on the facts of the chip"
SIMULATED = "simulated"
_ANSWER_BY_QUANTITY = ("work-price", "per-megawatt")


def task_of(what: Computation) -> Computation:
    """What has to be computed: claims that differ only in the quantity, or in what was assumed, share it.

    So do claims about models of one shape, such as Llama 3 and 3.1: cycles hang on sizes alone.
    """
    task = msgspec.structs.replace(what, quantity="", assumed=())
    if task.compute in _ANSWER_BY_QUANTITY:  # what is missing depends on what was asked for
        return msgspec.structs.replace(task, quantity=what.quantity)
    if task.compute != "decode" or task.model is None:
        return task
    return msgspec.structs.replace(task, model=_first_alike(task.model, task.context))


def _first_alike(name: str, context: int) -> str:
    """Of the ready shapes that take the same cycles, the first by name; `name` itself where it is none of them."""
    if name not in SHAPES or SHAPES[name].max_context < context:
        return name
    wanted = SHAPES[name].sizes
    return next(
        other
        for other, shape in SHAPES.items()
        if shape.max_context >= context and shape.sizes == wanted
    )


def answer(what: Computation) -> Answer:
    """Compute. Raises UnsupportedError for what Takt cannot do yet, and whatever the rooms raise."""
    return _COMPUTATIONS[what.compute](what)


# -------------------------------------------------------------------------------------------------- chips and networks
def _chip_of(what: Computation) -> Chip:
    return load_chip(what.chip or "lpu-v1")


def _system_of(what: Computation) -> System:
    return load_system(what.system or "single")


def _barrier(what: Computation) -> Answer:
    return Answer(values={"cycles": barrier_cycles(_chip_of(what))}, basis=SIMULATED)


def _weight_load(what: Computation) -> Answer:
    return Answer(values={"cycles": weight_load_cycles(_chip_of(what))}, basis=SIMULATED)


def _all_reduce(what: Computation) -> Answer:
    system = _system_of(what)
    cycles = all_reduce_cycles(system, what.chips or system.node.chips)
    us = cycles_to_ns(cycles, system.chip.clock_hz) / 1000
    return Answer(values={"cycles": cycles, "us": us}, basis=SIMULATED)


def _rates(chip: Chip, count: int) -> Mapping[str, float]:
    link_bytes = chip.c2c.links * chip.c2c.lanes_per_link * chip.c2c.lane_bits_per_s / 8
    return {
        "int8_tops": count * chip.int8_ops_per_s / 1e12,
        "fp16_tops": count * chip.fp16_ops_per_s / 1e12,
        "int8_pops": count * chip.int8_ops_per_s / 1e15,
        "sram_tb_per_s": count * chip.sram_bytes_per_cycle * chip.clock_hz / 1e12,
        "sram_pb_per_s": count * chip.sram_bytes_per_cycle * chip.clock_hz / 1e15,
        "link_tb_per_s": count * 2 * link_bytes / 1e12,
        "sram_gb": count * chip.sram_bytes / 1e9,
    }


def _one_chip(what: Computation) -> Answer:
    return Answer(values=_rates(_chip_of(what), 1), basis=FACTS)


def _rack(what: Computation) -> Answer:
    system = _system_of(what)
    return Answer(values=_rates(system.chip, system.rack_chips), basis=FACTS)


def _reach(what: Computation) -> Answer:
    """When the farthest chip is reached, and when `reach_gb` of SRAM are."""
    system = _system_of(what)
    rows = system.reach(system.network(what.chips))
    values = {"farthest_us": rows[-1].latency_ns / 1000}
    if what.reach_gb is not None:
        within = [row for row in rows if row.sram_bytes >= what.reach_gb * 1e9]
        if not within:
            raise UnsupportedError(f"{system.id} has less than {what.reach_gb:g} GB")
        values["us"] = within[0].latency_ns / 1000
    return Answer(values=values, basis=FACTS)


def _hops(what: Computation) -> Answer:
    """Wires on the longest way; and the same with a node taken as one router, with a wire to it at each end."""
    network = _system_of(what).network(what.chips)
    routers = max(network.node_distances(0)) + 2
    return Answer(values={"wires": max(network.distances(0)), "routers": routers}, basis=FACTS)


# ---------------------------------------------------------------------------------------------------- images and rows
def _image(what: Computation) -> Answer:
    if what.model != "resnet-50":
        raise UnsupportedError(f"no ready shape of {what.model}")
    chip = _chip_of(what)
    made = compile_vision(resnet50_graph(), chip, weights=what.weights)
    rate = chip.clock_hz / made.cycles
    return Answer(values={"cycles": made.cycles, "images_per_s": rate}, basis=SIMULATED)


def _encode(what: Computation) -> Answer:
    """An encoder's pass over a sequence: on one chip, or over the chips of a system."""
    shape = shape_of(what.model or "")
    if what.system is not None:
        made = compile_encoder(
            shape,
            _system_of(what),
            n_chips=what.chips or 1,
            weights=what.weights,
            length=what.context,
        )
        return _seconds(made.step_cycles, made.chip)
    chip = _chip_of(what)
    compiled = compile_model(random_model(shape), chip, weights=what.weights, context=what.context)
    return _seconds(compiled.encode().program.cycles, chip)


def _seconds(cycles: int, chip: Chip) -> Answer:
    us = cycles_to_ns(cycles, chip.clock_hz) / 1000
    return Answer(values={"cycles": cycles, "us": us}, basis=SIMULATED)


# ------------------------------------------------------------------------------------------------------------- tokens
def _decode(what: Computation) -> Answer:
    made = _model(what)
    summary = summarise_system(made)
    return Answer(
        values={
            "tokens_per_s_user": summary.tokens_per_s_user,
            "tokens_per_s_total": summary.tokens_per_s_total,
            "energy_j_per_token": summary.energy.total_j,
            "step_cycles": summary.step_cycles,
        },
        basis=SIMULATED,
        detail=f"{summary.chips} chips in groups of {summary.group_chips}, {_users(made.users)}",
    )


def _users(count: int) -> str:
    return f"{count} user{'s' * (count != 1)}"


def _speculative(what: Computation) -> Answer:
    assert what.draft is not None and what.draft_chips is not None and what.acceptance is not None
    large = _model(what)
    small = _compiled(what, shape_of(what.draft), large.system, what.draft_chips, users=1)
    made = best_speculation(Pace.of(large), Pace.of(small), what.acceptance)
    return Answer(
        values={"tokens_per_s_user": made.tokens_per_s_user, "speedup": made.speedup},
        basis=f"{SIMULATED} × assumed acceptance",
        detail=f"{large.n_chips} and {small.n_chips} chips, {made.draft_tokens} tokens drafted",
    )


def _model(what: Computation) -> SystemCompiled:
    shape, system = shape_of(what.model or ""), _system_of(what)
    require_supported(shape)
    if what.racks:
        return _on_whole_racks(what, shape, system)
    n_chips = what.chips or system.node.chips
    if what.users == "most":
        return _for_most_users(what, shape, system, n_chips)
    return _compiled(what, shape, system, n_chips, what.users)


def _for_most_users(
    what: Computation, shape: ModelShape, system: System, n_chips: int
) -> SystemCompiled:
    """With as many users as fit: of the two largest sizes of a group, the one that serves more tokens in all."""
    found = fewest_chips(shape, system, weights=what.weights, context=what.context)
    sizes = sorted((group for group, chips in found if chips <= n_chips), reverse=True)
    made = []
    for group in sizes[:2]:
        alone = _compiled(what, shape, system, n_chips, 1, group=group)
        users = most_users(alone) or alone.users
        made.append(_compiled(what, shape, system, n_chips, users, group=group))
    if not made:
        raise CapacityError(f"{shape.name} does not fit on {n_chips:,} chips of {system.id}")
    return max(made, key=lambda each: each.tokens_per_s_total)


def _on_whole_racks(what: Computation, shape: ModelShape, system: System) -> SystemCompiled:
    """On the fewest whole racks that hold the model with every layer shared by a whole node."""
    group = system.node.chips
    chips = _fewest_of(what, shape, system, group=group)
    racks = -(-chips // system.rack_chips)
    return _compiled(what, shape, system, racks * system.rack_chips, 1, group=group)


def _fewest_of(
    what: Computation, shape: ModelShape, system: System, group: int | None = None
) -> int:
    found = fewest_chips(shape, system, weights=what.weights, context=what.context, group=group)
    if not found:
        raise CapacityError(f"{shape.name}: a single piece is larger than a chip")
    return found[0][1]


def _compiled(
    what: Computation,
    shape: ModelShape,
    system: System,
    n_chips: int,
    users: int,
    *,
    group: int | None = None,
) -> SystemCompiled:
    return compile_system(
        shape,
        system,
        n_chips=n_chips,
        weights=what.weights,
        context=min(what.context, shape.max_context),
        users=users,
        objective=what.objective,
        group=group,
    )


def _fewest(what: Computation) -> Answer:
    shape, system = shape_of(what.model or ""), _system_of(what)
    require_supported(shape)
    return Answer(values={"chips": _fewest_of(what, shape, system)}, basis="placed in SRAM")


def _none(what: Computation) -> Answer:
    raise UnsupportedError(what.reason or "no computation answers this")


_COMPUTATIONS: Mapping[str, Callable[[Computation], Answer]] = MappingProxyType(
    {
        "none": _none,
        "barrier": _barrier,
        "weight-load": _weight_load,
        "all-reduce": _all_reduce,
        "chip": _one_chip,
        "rack": _rack,
        "reach": _reach,
        "hops": _hops,
        "image": _image,
        "encode": _encode,
        "decode": _decode,
        "speculative": _speculative,
        "fewest": _fewest,
        "beside": beside,
        "memory-ratio": memory_ratio,
        "bandwidth-share": bandwidth_share,
        "work-price": work_price,
        "per-megawatt": per_megawatt,
    }
)
