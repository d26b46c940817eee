"""The functional units of the reference engine: what each instruction samples, claims, computes and schedules.

One function a mnemonic, listed in `EXECUTE`. They see a `State` as it was when the cycle began, and leave behind what
they want changed. When the cycle is over, and whether their claims agree, is the engine's to say.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from takt.lpu.isa.table import ADD, ALU, BY_OP, EMIT, IMM, KEEP, ROWS, STREAM, WRAP, Row, Type, Unit
from takt.lpu.machine import semantics
from takt.lpu.machine.faults import LINK_LAWS
from takt.lpu.machine.running import Bytes, Claim, Issue, Raw, State

# MEM


def _store(state: State, issue: Issue, address: int, vector: Bytes) -> None:
    """Write one word of the queue's slice at the end of the cycle."""
    for low, high in state.constant[issue.queue]:
        if low <= address < high:
            state.blame(issue, "constant write", f"words {low}..{high - 1} are constant")
    state.commit(issue, lambda: state.memory[issue.queue].__setitem__(address, vector))
    state.add("sram_write_bytes", vector.size)
    state.effect(1)


def _load(state: State, issue: Issue, address: int) -> None:
    state.drive(issue, issue.b, state.memory[issue.queue, address : address + 1].copy())
    state.add("sram_read_bytes", state.chip.lanes)


def _read(state: State, issue: Issue) -> None:
    state.claim(issue, writes=False, address=issue.a)
    if state.in_slice(issue, issue.a):
        _load(state, issue, issue.a)


def _write(state: State, issue: Issue) -> None:
    state.claim(issue, writes=True, address=issue.a)
    vector = state.sample(issue, issue.b, 1)[0]
    if state.in_slice(issue, issue.a):
        _store(state, issue, issue.a, vector)


def _readwrite(state: State, issue: Issue) -> None:
    state.claim(issue, writes=False, address=issue.a)
    state.claim(issue, writes=True, address=issue.c)
    vector = state.sample(issue, issue.d, 1)[0]
    if state.in_slice(issue, issue.a, issue.c):
        _load(state, issue, issue.a)
        _store(state, issue, issue.c, vector)


def _superlane_addresses(state: State, issue: Issue) -> NDArray[np.int64]:
    """Base plus the 16-bit value in the first lane of every superlane of the map."""
    low, high = state.sample(issue, issue.a, 2)
    return issue.c + semantics.join16(low, high)[:: state.superlane].astype(np.int64)


def _gather(state: State, issue: Issue) -> None:
    state.claim(issue, writes=False, address=None)
    addresses = _superlane_addresses(state, issue)
    if state.in_slice(issue, *addresses.tolist(), from_data=True):
        tiles = state.memory[issue.queue].reshape(-1, state.chip.core.superlanes, state.superlane)
        chosen = tiles[addresses, np.arange(state.chip.core.superlanes)]
        state.drive(issue, issue.b, chosen.reshape(1, -1))
        state.add("sram_read_bytes", state.chip.lanes)


def _scatter(state: State, issue: Issue) -> None:
    state.claim(issue, writes=True, address=None)
    addresses = _superlane_addresses(state, issue)
    vector = state.sample(issue, issue.b, 1)
    for low, high in state.constant[issue.queue]:
        if np.any((low <= addresses) & (addresses < high)):
            why = f"words {low}..{high - 1} are constant"
            state.blame(issue, "constant write", why, from_data=True)
    if state.in_slice(issue, *addresses.tolist(), from_data=True):
        tiles = state.memory[issue.queue].reshape(-1, state.chip.core.superlanes, state.superlane)
        where = (addresses, np.arange(state.chip.core.superlanes))
        state.commit(issue, lambda: tiles.__setitem__(where, vector.reshape(-1, state.superlane)))
        state.add("sram_write_bytes", state.chip.lanes)
        state.effect(1)


# VXM


def _operand(state: State, issue: Issue, operand: int) -> Raw:
    """Raw 32-bit lanes of a VXM operand."""
    kind, value = operand >> 10 & 3, operand & 127
    if kind == STREAM:
        type_ = Type(operand >> 7 & 7)
        return semantics.widen(state.sample(issue, value, type_.n_streams), type_)
    if kind == ALU:
        result = state.alu_results.get(state.time, {}).get(value)
        if result is None:
            when = state.time - state.chip.vxm.alu_cycles
            state.blame(issue, "alu empty", f"ALU {value} dispatched nothing at cycle {when}")
            return np.zeros(state.chip.lanes, np.uint32)
        return result
    immediate = issue.imm & 0xFFFFFFFF if kind == IMM else 0
    return np.full(state.chip.lanes, immediate, np.uint32)


def _vxm(state: State, issue: Issue) -> None:
    row = BY_OP[issue.op]
    x = _operand(state, issue, issue.a)
    y = _operand(state, issue, issue.b) if row.n_sources == 2 else None
    result = semantics.vxm(row.name, x, y)
    alu = state.queues[issue.queue].index
    state.alu_results[state.time + state.chip.vxm.alu_cycles][alu] = result
    if issue.c >> 10 & 3 == STREAM:
        state.drive(issue, issue.c & 127, semantics.narrow(result, Type(issue.c >> 7 & 7)))
    state.add("vxm_lane_ops", state.chip.lanes)
    state.effect(1)


# MXM


def _lw(state: State, issue: Issue) -> None:
    plane = state.planes[state.queues[issue.queue].index]
    columns = state.sample(issue, issue.a, 16)
    state.commit(issue, lambda: plane.load(issue.b, columns))
    state.add("weight_bytes", columns.size)
    state.effect(1)


def _iw(state: State, issue: Issue) -> None:
    plane = state.planes[state.queues[issue.queue].index]
    weights = plane.buffer.copy()
    due = state.time + state.chip.mxm.install_cycles
    state.installs[due].append(lambda: plane.install(weights))
    state.effect(1)


def _abc(state: State, issue: Issue) -> None:
    number = state.queues[issue.queue].index
    plane, type_ = state.planes[number], Type(issue.b)
    acts = state.sample(issue, issue.a, type_.n_streams)
    macs = state.chip.mxm.rows * state.chip.mxm.cols
    latency = state.latencies[issue.op]
    if type_ is Type.F16:
        interval = state.chip.mxm.fp16_interval_cycles
        state.plane_claims += [(issue, number, interval), (issue, number + 1, interval)]
        result = plane.dot_f16(semantics.join16(acts[0], acts[1]), state.planes[number + 1])
        state.add("mac_f16", macs)
    else:
        state.plane_claims.append((issue, number, 1))
        result = plane.dot_i8(acts[0])
        state.add("mac_i8", macs)
    plane.results[state.time + latency] = (type_.is_float, result)
    state.effect(latency)


def _acc(state: State, issue: Issue) -> None:
    plane, type_ = state.planes[state.queues[issue.queue].index], Type(issue.d)
    if issue.a >= len(plane.entries):
        state.blame(issue, "address range", f"there is no entry {issue.a}")
        return
    if state.time not in plane.results:
        state.blame(issue, "mxm result missing", "no activation has its result now")
        return
    is_float, result = plane.results[state.time]
    if is_float != type_.is_float:
        found = "f32" if is_float else "i32"
        state.blame(issue, "mxm type", f"the result is {found}")
        return
    if issue.c & ADD:
        result = semantics.acc_add(plane.entries[issue.a], result, type_)
    if issue.c & KEEP:
        state.commit(issue, lambda: plane.entries.__setitem__(issue.a, result))
    if issue.c & EMIT:
        state.drive(issue, issue.b, semantics.split32(result))
    state.effect(1)


# SXM


def _shift(state: State, issue: Issue) -> None:
    data = state.sample(issue, issue.a, issue.d & 7)
    state.drive(issue, issue.b, semantics.shift(data, issue.c, bool(issue.d & WRAP)))


def _select(state: State, issue: Issue) -> None:
    x = state.sample(issue, issue.a, issue.imm)
    y = state.sample(issue, issue.b, issue.imm)
    mask = state.sample(issue, issue.c, 1)[0]
    state.drive(issue, issue.d, semantics.select(x, y, mask))


def _permute(state: State, issue: Issue) -> None:
    data = state.sample(issue, issue.a, issue.d)
    low, high = state.sample(issue, issue.b, 2)
    lane_map = semantics.join16(low, high)
    if not semantics.is_bijection(lane_map):
        why = "the map does not name every lane once"
        state.blame(issue, "bad permute", why, from_data=True)
        return
    state.drive(issue, issue.c, semantics.permute(data, lane_map))


def _distribute(state: State, issue: Issue) -> None:
    data = state.sample(issue, issue.a, 1)
    moved = semantics.distribute(data, issue.imm, issue.c, state.superlane)
    state.drive(issue, issue.b, moved)


def _transpose(state: State, issue: Issue) -> None:
    data = state.sample(issue, issue.a, 16)
    state.drive(issue, issue.b, semantics.transpose(data, state.superlane))


def _rotate(state: State, issue: Issue) -> None:
    data = state.sample(issue, issue.a, issue.c)
    state.drive(issue, issue.b, semantics.rotate(data, state.superlane))


# C2C


def _send(state: State, issue: Issue) -> None:
    vector = state.sample(issue, issue.a, 1)[0].tobytes()
    state.sending.append(issue)
    where = (issue.queue, issue.row, issue.b, state.time)
    state.commit(issue, lambda: state.links.send(*where, vector))
    state.add("link_bytes", len(vector))
    state.effect(1)


def _receive(state: State, issue: Issue) -> None:
    state.receiving.append(issue)


def settle_links(state: State) -> None:
    """Judge this cycle's senders, and hand the oldest vectors of the links to its receivers, lower queues first."""
    for link in {issue.b for issue in state.sending}:
        senders = [issue for issue in state.sending if issue.b == link]
        if not state.links.leads(link, sends=True):
            _blame_link(state, senders, "link missing")
        if not state.links.occupy(link, state.time) or len(senders) > 1:
            _blame_link(state, senders, "link busy")
    for issue in sorted(state.receiving):
        if not state.links.leads(issue.b, sends=False):
            _blame_link(state, [issue], "link missing")
        elif (vector := state.links.receive(issue.b)) is None:
            _blame_link(state, [issue], "link empty")
        else:
            state.drive(issue, issue.a, np.frombuffer(vector, np.uint8)[np.newaxis])
    state.sending.clear()
    state.receiving.clear()


def _blame_link(state: State, issues: Sequence[Issue], kind: str) -> None:
    for issue in issues:
        # A chip alone cannot be told beforehand what its links hold.
        state.blame(issue, kind, LINK_LAWS[kind], from_data=kind == "link empty")


def _deskew(state: State, issue: Issue) -> None:
    epoch = state.chip.c2c.epoch_cycles
    state.gates[issue.queue] = -(-state.time // epoch) * epoch
    state.effect(1)


# ICU


def _ifetch(state: State, issue: Issue) -> None:
    if not state.in_slice(issue, issue.b, issue.b + 1):
        return
    for i in (0, 1):
        bank = (issue.b + i) // state.bank_words
        state.late_claims[state.time + i].append(Claim(issue, issue.a, False, bank))
    latency = state.latencies[issue.op]
    state.refills[state.time + latency].append(issue)
    state.effect(latency)


def _sync(state: State, issue: Issue) -> None:
    if state.time > state.last_notify:
        state.blame(issue, "queue order", "no notify releases this queue")
    state.gates[issue.queue] = None
    state.effect(1)


def _notify(state: State, issue: Issue) -> None:
    release = state.time + state.chip.icu.barrier_cycles

    def open_gates() -> None:
        for queue, gate in state.gates.items():
            if gate is None:
                state.gates[queue] = release

    state.commit(issue, open_gates)
    state.effect(state.latencies[issue.op])


def _config(state: State, issue: Issue) -> None:
    state.effect(1)


_BY_NAME: Mapping[str, Callable[[State, Issue], None]] = MappingProxyType(
    {
        "ifetch": _ifetch,
        "sync": _sync,
        "notify": _notify,
        "config": _config,
        "read": _read,
        "write": _write,
        "gather": _gather,
        "scatter": _scatter,
        "readwrite": _readwrite,
        "lw": _lw,
        "iw": _iw,
        "abc": _abc,
        "acc": _acc,
        "shift": _shift,
        "select": _select,
        "permute": _permute,
        "distribute": _distribute,
        "transpose": _transpose,
        "rotate": _rotate,
        "send": _send,
        "receive": _receive,
        "deskew": _deskew,
    }
)


def _execute_of(row: Row) -> Callable[[State, Issue], None]:
    return _vxm if row.unit is Unit.VXM else _BY_NAME[row.name]


EXECUTE: Mapping[int, Callable[[State, Issue], None]] = MappingProxyType(
    {row.op: _execute_of(row) for row in ROWS if row.name not in ("nop", "repeat")}
)
"""What each opcode does when it is dispatched."""
