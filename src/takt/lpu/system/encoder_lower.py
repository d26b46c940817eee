"""The lower pass of an encoder on many chips: programs that look up, run one layer, or pool.

A chip works on `rows` rows of its own out of all rows of a sequence. For a layer it needs all of them in `state`, its
own first; it makes keys and values of all, everything else of its own, and leaves its own rows of the next layer in
`state`. The order of the others does not matter: attention is a sum. Where rows come from, and who holds the others, is
not known here.
"""

from __future__ import annotations

from collections.abc import Sequence

from takt.lpu.compiler.encode import Encode, Normed
from takt.lpu.compiler.ir import FromBuffer, Plan, Source
from takt.lpu.isa.table import Type
from takt.lpu.system.encoder_place import EncoderLayout

F16, I8 = Type.F16, Type.I8

_ATTENTION, _INSIDE = 0, 2
"""Zones of `Encode`: before the feed-forward, and while neither part's weights are wanted first."""


class EncoderStep(Encode):
    """One program; `rows` are the chip's own."""

    layout: EncoderLayout

    def __init__(self, layout: EncoderLayout, name: str, rows: int) -> None:
        super().__init__(layout)
        self.plan.name = name
        most = max(size for _, size in self.blocks)
        if rows < most:
            self.blocks = [(first, rows) for first in range(0, layout.chunk, rows)]
        self.own = [block for block in self.blocks if block[0] < rows]

    # ------------------------------------------------------------------------------------------------------ programs
    def look_up(self) -> Plan:
        """Tokens to rows."""
        self.leave([self.norm(self.embedded(), 1.0) for _ in self.each_block()])
        return self.plan

    def layer_of(self) -> Plan:
        """Rows to the rows of the next layer."""
        self.layer = 0
        self.zone = _ATTENTION
        rows = [self.unpacked() for _ in self.each_block()]
        projected = [self.projected(0, rows[b]) for b in self.each_block()]
        self.blocks = self.own  # the other rows give keys and values only
        self.zone = _INSIDE
        self.transpose(0)
        mixed = self.mix(0, self.scores(0, projected[: len(self.own)]))
        attended = []
        for b in self.each_block():
            self.zone = _ATTENTION
            base = self.base("0.o", "embed.norm", rows[b])
            attended.append(self.norm(self.residual("0.o", mixed[b], base), self.step))
        hidden = [self.hidden(0, attended[b]) for b in self.each_block()]
        self.zone = _INSIDE
        out = []
        for b in self.each_block():
            base = self.base("0.down", "layers.0.attn.norm", attended[b])
            out.append(self.norm(self.residual("0.down", hidden[b], base), self.step))
        self.leave(out)
        return self.plan

    def pooled(self) -> Plan:
        """Rows to one vector; the last norm is that of the layer in the slot."""
        self.pool([self.unpacked() for _ in self.each_block()])
        return self.plan

    # --------------------------------------------------------------------------------------------------------- state
    def unpacked(self) -> Normed:
        """A block of `state` as matrices take it, on either side, and as numbers."""
        out = Normed()
        for c, state in enumerate(self.layout.state):
            task, name = self.task("unpack"), f"n{c}"
            parts = [task.op("mov", FromBuffer(buffer, self.first)) for buffer in state]
            kept = [
                self.on_sides(task, part, f"{name}.{i}", buffer.type)
                for i, (part, buffer) in enumerate(zip(parts, state, strict=True))
            ]
            out.operands.append({side: tuple(k[side] for k in kept) for side in (0, 1)})
            task = self.task("unpack")
            if self.layout.weights is I8:
                high = task.op("itof", FromBuffer(state[0], self.first))
                low = task.op("itof", FromBuffer(state[1], self.first))
                node = task.op("add", high, task.op("mul", low, 1.0 / 256))
            else:
                node = task.op("mov", FromBuffer(state[0], self.first))
            out.steps.append(self.temp(name, self.wide))
            task.out(node, out.steps[-1])
        return out

    def leave(self, rows: Sequence[Normed]) -> None:
        """Blocks into `state`, as matrices take them."""
        for b in self.each_block():
            for c, state in enumerate(self.layout.state):
                # From the other side, since `state` cannot avoid the slices of what it is made of.
                side = self.layout.image.g.side_of(state[0].slices[0][0])
                for part, buffer in zip(rows[b].operands[c][1 - side], state, strict=True):
                    task = self.task("leave")
                    task.out(task.op("mov", FromBuffer(part)), buffer, self.first)

    def levels(self, key: str) -> Source | float:
        """As `Encode.levels`, from a row in SRAM, since it differs by layer."""
        if self.layout.weights is F16:
            return 1.0
        return FromBuffer(self.layout.factor[key], fixed_row=True)
