"""The VXM part of a task: operands from SRAM, tables and the MXM, operations on ALUs, results to SRAM."""

from __future__ import annotations

import numpy as np

from takt.lpu.compiler.access import Access, emit_read, issues, reserve_read
from takt.lpu.compiler.attempt import Attempt
from takt.lpu.compiler.board import CENTRE, Board, StreamGroup, inward, outward
from takt.lpu.compiler.chain import FromMicro, Micro, MicroSource, buffer_reads, read_key
from takt.lpu.compiler.ir import Constant, FromBuffer, FromGather
from takt.lpu.compiler.timeline import pattern, span
from takt.lpu.compiler.words import Words
from takt.lpu.isa import table as isa
from takt.lpu.isa.table import Type, vxm_operand


class Operations:
    """Reserves and emits the micro operations of a task with their operands and results."""

    __slots__ = ("_board", "_words")

    def __init__(self, board: Board, words: Words) -> None:
        self._board = board
        self._words = words

    # ---------------------------------------------------------------------------------------------------- reserving
    def reserve(self, attempt: Attempt) -> bool:
        """Claim all that the task's operations need; False if something is taken."""
        for source, offset in buffer_reads(attempt.chain):
            access = Access(
                source.buffer,
                source.row,
                source.fixed_row,
                0,
                attempt.time + offset,
                attempt.rows,
                attempt.interval,
            )
            read = reserve_read(self._board, attempt.undo, access)
            if read is None:
                return False
            attempt.reads[read_key(source, offset)] = read
        for micro in attempt.chain.micros:
            for operand in micro.sources:
                if isinstance(operand, FromGather) and not self._reserve_gather(
                    attempt, operand, attempt.time + micro.offset
                ):
                    return False
            if not self._reserve_micro(attempt, micro):
                return False
        return True

    def _reserve_gather(self, attempt: Attempt, source: FromGather, arrival: int) -> bool:
        """Table rows of which the first is at the VXM at `arrival`: maps pass the table's hop, rows come back."""
        g, board, undo, n = self._board.g, self._board, attempt.undo, attempt.rows
        slices = [byte[0] for byte in source.table.slices]
        x = g.slice_x[slices[0]]
        when = arrival - abs(x) - g.gather
        for s in slices:
            if when < 0 or not undo.take(board.queue[s], when, span(n, 1)):
                return False
        read = reserve_read(board, undo, Access(source.maps, source.row, False, x, when, n, 1))
        if read is None:
            return False
        side = g.side_of(slices[0])
        streams = board.take_streams(
            undo, inward(side), (side, CENTRE), arrival, span(n, 1), len(slices)
        )
        if streams is None:
            return False
        attempt.gathers[id(source)] = (read, streams)
        return True

    def _reserve_micro(self, attempt: Attempt, micro: Micro) -> bool:
        """An ALU, and streams and words for the result."""
        g, board = self._board.g, self._board
        start = attempt.time + micro.offset
        queued = span(attempt.rows, attempt.interval)
        base = g.queue["vxm.0"]
        alu = next((k for k in range(g.n_alus) if board.queue[base + k].free(start, queued)), None)
        if alu is None:
            return False
        attempt.undo.take(board.queue[base + alu], start, queued)
        attempt.alus.append(alu)
        streams = None
        if micro.via is not None:
            streams = self._turn_round(attempt, micro.via, start + g.exit)
        elif micro.output >= 0:
            streams = self._reserve_output(attempt, micro, start + g.exit)
        attempt.streams.append(streams)
        return streams is not None or (micro.via is None and micro.output < 0)

    def _turn_round(self, attempt: Attempt, kind: Type, done: int) -> StreamGroup | None:
        """Streams at the VXM, in either direction, for a result that the VXM itself takes up."""
        exact = pattern(attempt.rows, attempt.interval)
        for direction in (0, 1):
            streams = self._board.take_streams(
                attempt.undo, direction, (CENTRE,), done, exact, kind.n_streams
            )
            if streams is not None:
                return streams
        return None

    def _reserve_output(self, attempt: Attempt, micro: Micro, done: int) -> StreamGroup | None:
        """Streams and MEM queues for a result that is at the VXM at cycle `done`."""
        g, board, undo = self._board.g, self._board, attempt.undo
        _, buffer, row = attempt.task.outputs[micro.output]
        if not buffer.slices:
            return self._reserve_new(attempt, micro, done)
        access = Access(buffer, row, False, 0, done, attempt.rows, attempt.interval)
        for issue in issues(g, access, write=True):
            if not undo.take(board.queue[issue.slice_], issue.time, issue.span):
                return None
        return self._leave(attempt, buffer.type, g.side_of(buffer.location(0, row)[0]), done)

    def _reserve_new(self, attempt: Attempt, micro: Micro, done: int) -> StreamGroup | None:
        """The same for a temporary that has no place yet; the slices go to `attempt.places`."""
        g, board = self._board.g, self._board
        _, buffer, _ = attempt.task.outputs[micro.output]
        width, queued = buffer.type.n_streams, span(attempt.rows, attempt.interval)
        for side in self._words.next_sides():
            if buffer.side not in (-1, side):
                continue
            avoid = self._words.peers_slices(buffer)
            chosen = self._words.free_slices(
                side, done, queued, width, buffer.rows, avoid=avoid, zone=buffer.zone
            )
            if (
                chosen is None and not buffer.apart
            ):  # whoever reads it beside its peer has it copied
                chosen = self._words.free_slices(
                    side, done, queued, width, buffer.rows, zone=buffer.zone
                )
            if chosen is None:
                continue
            streams = self._leave(attempt, buffer.type, side, done)
            if streams is None:
                continue
            for s in chosen:
                attempt.undo.take(board.queue[s], done + abs(g.slice_x[s]), queued)
            attempt.places[micro.output] = chosen
            return streams
        return None

    def _leave(self, attempt: Attempt, kind: Type, side: int, done: int) -> StreamGroup | None:
        """Streams from the VXM to the slices of a side."""
        exact = pattern(attempt.rows, attempt.interval)
        return self._board.take_streams(
            attempt.undo, outward(side), (CENTRE, side), done, exact, kind.n_streams
        )

    # ----------------------------------------------------------------------------------------------------- emitting
    def emit(self, attempt: Attempt, ideal: int) -> int:
        """Instructions of the reserved operations; `ideal` is the task's time without resource limits.

        Returns the last first cycle of a write, −1 if there is none.
        """
        last = -1
        for read in attempt.reads.values():
            emit_read(self._board, read)
        for index, micro in enumerate(attempt.chain.micros):
            self._emit_micro(attempt, index, micro)
            streams = attempt.streams[index]
            if micro.output >= 0 and streams is not None:
                last = max(last, self._emit_output(attempt, micro, ideal, streams))
        return last

    def _emit_micro(self, attempt: Attempt, index: int, micro: Micro) -> None:
        """The operation itself, and the gathers of its operands."""
        for source in micro.sources:
            if isinstance(source, FromGather):
                self._emit_gather(attempt, source, attempt.time + micro.offset)
        operands = [_operand(attempt, micro, source) for source in micro.sources]
        constants = [_immediate(s) for s in micro.sources if isinstance(s, Constant)]
        destination = 0
        streams = attempt.streams[index]
        if streams is not None:
            stored = attempt.task.outputs[micro.output][1].type
            kind = micro.via if micro.via is not None else stored
            destination = vxm_operand(isa.STREAM, kind, streams.ref())
        self._board.emit(
            attempt.time + micro.offset,
            self._board.g.queue[f"vxm.{attempt.alus[index]}"],
            micro.op,
            count=attempt.rows,
            gap=attempt.interval,
            a=operands[0],
            b=operands[1] if len(operands) > 1 else 0,
            c=destination,
            imm=constants[-1] if constants else 0,
        )

    def _emit_gather(self, attempt: Attempt, source: FromGather, arrival: int) -> None:
        g, table = self._board.g, source.table
        read, streams = attempt.gathers[id(source)]
        emit_read(self._board, read)
        for byte, (s,) in enumerate(table.slices):
            self._board.emit(
                arrival - abs(g.slice_x[s]) - g.gather,
                s,
                "gather",
                count=attempt.rows,
                a=read.streams.ref(),
                b=streams.ref(byte),
                c=table.bases[byte],
            )

    def _emit_output(self, attempt: Attempt, micro: Micro, ideal: int, streams: StreamGroup) -> int:
        """The writes of a result, and what the buffer's readers need to know; the last first cycle of a write."""
        g, n, ii = self._board.g, attempt.rows, attempt.interval
        _, buffer, row = attempt.task.outputs[micro.output]
        done = attempt.time + micro.offset + g.exit
        if not buffer.slices:
            chosen = attempt.places[micro.output]
            buffer.slices = tuple((s,) for s in chosen)
            buffer.bases = tuple(
                self._words.allocate(s, buffer.rows, done + abs(g.slice_x[s])) for s in chosen
            )
            self._words.expect(buffer, buffer.rows * buffer.n_readers)
        last = done
        for issue in issues(g, Access(buffer, row, False, 0, done, n, ii), write=True):
            buffer.done = max(buffer.done, issue.time + (issue.rows - 1) * issue.gap)
            self._board.emit(
                issue.time,
                issue.slice_,
                "write",
                count=issue.rows,
                gap=issue.gap,
                step=1,
                a=issue.word,
                b=streams.ref(issue.byte),
            )
            last = max(last, issue.time)
        written = tuple(
            done + abs(g.slice_x[buffer.location(b, row)[0]]) - row * ii
            for b in range(len(buffer.slices))
        )
        buffer.written = tuple(map(max, buffer.written, written)) if buffer.written else written
        buffer.interval = ii
        ready = ideal + micro.offset + g.exit + 1
        buffer.ideal = max(buffer.ideal, ready)
        buffer.ideal_done = max(buffer.ideal_done, ready + (n - 1) * ii)
        return last


def _operand(attempt: Attempt, micro: Micro, source: MicroSource) -> int:
    """The encoded operand of a source."""
    if isinstance(source, Constant):
        return vxm_operand(isa.IMM, Type.I32 if source.integer else Type.F32)
    if isinstance(source, FromMicro):
        if source.via is None:
            kind = Type.I32 if attempt.chain.micros[source.index].integer else Type.F32
            return vxm_operand(isa.ALU, kind, attempt.alus[source.index])
        kind, streams = source.via, attempt.streams[source.index]
    elif isinstance(source, FromBuffer):
        kind = source.buffer.type
        streams = attempt.reads[read_key(source, micro.offset)].streams
    elif isinstance(source, FromGather):
        kind, streams = source.table.type, attempt.gathers[id(source)][1]
    else:
        f16 = attempt.task.feeds[source.index].tile.type is Type.F16
        kind = Type.F32 if f16 else Type.I32
        streams = attempt.results[source.index][1 if source.swapped else 0]
    assert streams is not None
    return vxm_operand(isa.STREAM, kind, streams.ref())


def _immediate(value: Constant) -> int:
    if value.integer:
        return int(np.int32(value.value).view(np.uint32))
    return int(np.float32(value.value).view(np.uint32))
