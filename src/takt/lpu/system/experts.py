"""A mixture of experts on a machine whose schedule knows no data.

Which experts a token gets is data; how many it gets is not. Every expert is cut over all chips of a group, so each token
takes the same time on every chip whatever it chooses: `top_k` slots, each the slice of one expert. What is chosen only
turns up as addresses: the weights of a slot are read with `gather`, and the addresses come from the router, on the chip.

The router is computed from shards like a norm: each chip multiplies its own shard, the sums are added as a tree, so all
chips get the same bits and choose the same experts. An expert's rank is the number of experts with a larger score, for
all experts at once: scores are broadcast one row an expert (a product with ones), compared with all of them in the VXM,
and the comparisons summed over rows.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, replace

from takt.lpu.compiler.blocks import Hidden, Operand
from takt.lpu.compiler.ir import (
    Accumulator,
    Buffer,
    FromBuffer,
    FromGather,
    FromNode,
    Source,
    Task,
)
from takt.lpu.compiler.matrices import Matrix
from takt.lpu.isa.table import Type
from takt.lpu.system.lower import Gathered, Own, SplitStep
from takt.models import Experts

F32, F16, I8, I32 = Type.F32, Type.F16, Type.I8, Type.I32

ADDRESS_BASE = 64
"""Addresses pass the MXM as two f16 digits to this base, both exact."""

_STEEP = 2.0**60
"""Makes any difference of scores at least 1: they are compared to 2⁻²² relative, ties go to the lower number."""

_OUT_OF_REACH = 10000.0
"""Taken off the scores of experts that may not be chosen."""


@dataclass(slots=True)
class Split:
    """A row of values as f16 high part and rest, and their sum in f32."""

    high: Buffer
    low: Buffer
    both: Buffer


class ExpertStep(SplitStep):
    """A step whose feed-forward may be a mixture of experts."""

    @property
    def experts(self) -> Experts:
        """The mixture's sizes."""
        assert self.shape.experts is not None
        return self.shape.experts

    def mixture(
        self, before: Own, x: Own, target: list[Buffer]
    ) -> Generator[list[list[Buffer]], list[list[Buffer]], Own]:
        """(Some experts of) the feed-forward of `before`, added to `x`."""
        gathered = yield from self.normed_shards(before, 0, self.router_sums)
        logits = self.logit_rows(gathered)
        scores = self.scores_of(logits)
        choices = [self.selectable(v, s) for v, s in enumerate(scores)]
        if self.experts.n_groups > 1:
            choices = [self.in_top_groups(choice) for choice in choices]
        ranks = self.ranks(choices)
        picks = [self.picks(v, rank) for v, rank in enumerate(ranks)]
        maps = self.addresses(picks)
        shares = self.shares(picks, logits, scores)
        self.lay_slots(maps)
        numbers = self.numbers(picks) if self.experts.biases else None
        hidden = self.slots(gathered, shares, numbers)
        more = None if numbers is None else self.down_biases(numbers, shares)
        return (yield from self.reduced("0.mix", hidden, x, target, "down", more))

    # ---------------------------------------------------------------------------------------------------- router
    def router_sums(self, own: Hidden) -> list[Buffer]:
        """What the chip's own shard adds to every expert's score, before the norm's scalar."""
        out = []
        sources: list[list[Operand]] = [[(half,)] for half in own.half]
        for v in range(len(self.layout.matrices["0.router"].out)):
            task, value, _ = self.product("0.router", v, sources, "router")
            out.append(self.temp(f"router{v}", F32))
            task.out(task.op("mov", value), out[-1])
        return out

    def logit_rows(self, gathered: Gathered) -> list[Buffer]:
        """Router logits; lanes without an expert hold a large negative number."""
        out = []
        for v, total in enumerate(gathered.extras):
            task = self.task("router")
            value = task.op("mul", FromBuffer(total), FromBuffer(gathered.r))
            bias = FromBuffer(self.layout.choice["bias"][v], fixed_row=True)
            out.append(self.temp(f"logits{v}", F32))
            task.out(task.op("add", value, bias), out[-1])
        return out

    def scores_of(self, logits: list[Buffer]) -> list[Buffer]:
        """What the shares are made of: sigmoids, or the logits themselves."""
        if self.experts.scoring != "sigmoid":
            return logits
        out = []
        for v, row in enumerate(logits):
            task = self.task("router")
            root = task.op(
                "rsqrt", task.op("add", task.op("exp", task.op("neg", FromBuffer(row))), 1.0)
            )
            out.append(self.temp(f"sigmoid{v}", F32))
            task.out(task.op("mul", root, root), out[-1])
        return out

    def selectable(self, v: int, score: Buffer) -> Split:
        """Scores that experts are chosen by."""
        task = self.task("router")
        bias = FromBuffer(self.layout.choice["select"][v], fixed_row=True)
        return self.split(task, task.op("add", FromBuffer(score), bias), f"choice{v}")

    def split(self, task: Task, value: FromNode, name: str) -> Split:
        """A row as two f16 parts and their sum."""
        out = Split(
            self.temp(f"{name}.high", F16), self.temp(f"{name}.low", F16), self.temp(name, F32)
        )
        task.out(value, out.high)
        rest = task.op("sub", value, FromNode(task.op("mov", value).index, F16))
        task.out(rest, out.low)
        again = FromNode(task.op("mov", value).index, F16)
        both = task.op("add", again, FromNode(task.op("mov", rest).index, F16))
        task.out(both, out.both)
        return out

    # ----------------------------------------------------------------------------------------------------- ranks
    def ranks(self, scores: list[Split]) -> list[Buffer]:
        """How many experts have a larger score, for every expert."""
        counts = [self.larger(u, scores) for u in range(len(scores))]
        return [self.row_sum([c[v] for c in counts], f"rank{v}") for v in range(len(scores))]

    def n_rows(self, u: int) -> int:
        """Experts on vector `u`."""
        lanes = self.layout.matrices["0.router"].out[u]
        return int((lanes >= 0).sum())

    def larger(self, u: int, scores: list[Split]) -> list[Buffer]:
        """A row for each expert of vector `u`: 1 at every expert (of vector v) with a smaller score, else 0."""
        alone = self.alone(scores[u], "one", self.n_rows(u), f"expert{u}")
        out = []
        for v, mine in enumerate(scores):
            tie: FromBuffer | float = (
                FromBuffer(self.layout.tables["after"]) if u == v else float(u < v)
            )
            out.append(self.smaller(alone, mine, tie, None, f"larger{u}.{v}"))
        return out

    def alone(self, score: Split, table: str, rows: int, name: str) -> tuple[Buffer, Buffer]:
        """Scores one a row, alone on the lane that a table marks: f16 high parts and rests."""
        task, marks = self.task("rank", rows=rows), FromBuffer(self.layout.tables[table])
        high, low = (self.temp(f"{name}.{part}", F16, rows=rows) for part in ("high", "low"))
        for part, target in ((score.high, high), (score.low, low)):
            task.out(task.op("mask", FromBuffer(part, fixed_row=True), marks), target)
        return high, low

    def smaller(
        self,
        alone: tuple[Buffer, Buffer],
        mine: Split,
        tie: FromBuffer | float,
        among: FromBuffer | None,
        name: str,
    ) -> Buffer:
        """For each row's score, 1 on every lane whose score is smaller (`among` some lanes), and on ties if `tie` says so."""
        n = alone[0].rows
        task = self.task("rank", rows=n)
        # Both parts at once, one on each side of the chip: their sum is exact.
        both = [
            task.feed(self.layout.image.ones(side), part, Accumulator(n))
            for side, part in enumerate(alone)
        ]
        feed = task.op("add", *both)
        node = task.op("mul", task.op("sub", feed, FromBuffer(mine.both, fixed_row=True)), _STEEP)
        extra: Source | float = task.op("mask", 1.0, tie) if isinstance(tie, FromBuffer) else tie
        if extra != 0.0:
            node = task.op("add", node, extra)
        node = task.op("min", task.op("relu", node), 1.0)
        if among is not None:
            node = task.op("mask", node, among)
        out = self.temp(name, I8, rows=n)
        task.out(task.op("ftoi", node), out)
        return out

    def in_top_groups(self, score: Split) -> Split:
        """Scores of which those outside the best groups are out of reach.

        A group is as good as its two best experts together; they are found, and the groups ranked, like experts.
        """
        tables, experts = self.layout.tables, self.experts
        alone = self.alone(score, "one", self.n_rows(0), "member")
        same = FromBuffer(tables["same"])
        rows = self.smaller(alone, score, FromBuffer(tables["after"]), same, "larger.member")
        place = self.row_sum([rows], "rank.member")
        task = self.task("groups")
        kept = task.op("min", task.op("relu", task.op("sub", 2.0, FromBuffer(place))), 1.0)
        best = self.split(task, task.op("mul", FromBuffer(score.both), kept), "best")
        block = self.layout.image.pattern("groups", 0)
        sums = self.lane_sums(block, [([best.high, best.low], 1.0)], "groups")
        task = self.task("groups")
        whole = self.split(task, task.op("mov", FromBuffer(sums)), "group")
        alone = self.alone(whole, "first", experts.n_groups, "group.alone")
        rows = self.smaller(alone, whole, FromBuffer(tables["group_after"]), None, "larger.group")
        place = self.row_sum([rows], "rank.group")
        task = self.task("groups")
        away = task.op("sub", float(experts.top_groups), FromBuffer(place))
        kept = task.op("min", task.op("relu", away), 1.0)
        out = task.op("mul", task.op("sub", kept, 1.0), _OUT_OF_REACH)
        return self.split(task, task.op("add", out, FromBuffer(score.both)), "reachable")

    def row_sum(self, parts: list[Buffer], name: str) -> Buffer:
        """Sum over all rows of some buffers."""
        group, same = Accumulator(1, fold=True), self.layout.image.pattern("count", 1)
        for i, part in enumerate(parts):
            first = 0
            if i == 0:
                self.task("rank", rows=1).feed(same, part, group, last=False)
                first = 1
            if part.rows > first:
                rest = self.task("rank", rows=part.rows - first)
                rest.feed(same, part, group, row=first, add=True, last=False)
        task = self.task("rank")
        zero = self.layout.zero
        assert zero is not None
        value = task.feed(same, zero, group, add=True)
        out = self.temp(name, F32)
        task.out(task.op("itof", value), out)
        return out

    def picks(self, v: int, rank: Buffer) -> Buffer:
        """A row for each slot: 1 at the expert that it takes, else 0."""
        task = self.task("pick", rows=self.experts.top_k)
        distance = task.op(
            "sub", FromBuffer(rank, fixed_row=True), FromBuffer(self.layout.tables["slot"])
        )
        near = task.op("min", task.op("abs", distance), 1.0)
        out = self.temp(f"pick{v}", F16, rows=self.experts.top_k)
        task.out(task.op("sub", 1.0, near), out)
        return out

    def picked(self, picks: list[Buffer], rows: list[Buffer], name: str) -> list[Buffer]:
        """Rows of f16 values, of which only the picked expert's is left."""
        out = []
        for v, (pick, row) in enumerate(zip(picks, rows, strict=True)):
            task = self.task("pick", rows=self.experts.top_k)
            node = task.op("mask", FromBuffer(row, fixed_row=True), FromBuffer(pick))
            out.append(self.temp(f"{name}{v}", F16, rows=self.experts.top_k))
            task.out(node, out[-1])
        return out

    def everywhere(self, parts: list[Buffer]) -> tuple[Task, Source]:
        """Sums over the lanes of some rows, in every lane; the task goes on."""
        group, ones = Accumulator(self.experts.top_k), self.layout.image.ones(0)
        for i, part in enumerate(parts[:-1]):
            task = self.task("pick", rows=self.experts.top_k)
            task.feed(ones, part, group, add=i > 0, last=False)
        task = self.task("pick", rows=self.experts.top_k)
        return task, task.feed(ones, parts[-1], group, add=len(parts) > 1)

    # ------------------------------------------------------------------------------------------------- addresses
    def addresses(self, picks: list[Buffer]) -> dict[int, Buffer]:
        """Where the experts of the slots lie, as rows of whole words; a copy on each side of the chip."""
        digits = []
        for name in ("high", "low"):
            parts = self.picked(picks, self.layout.choice[name], name)
            task, value = self.everywhere(parts)
            digits.append(self.temp(f"address.{name}", F32, rows=self.experts.top_k))
            task.out(task.op("mov", value), digits[-1])
        out = {}
        for side in (0, 1):
            task = self.task("address", rows=self.experts.top_k)
            node = task.op("mul", FromBuffer(digits[0]), float(ADDRESS_BASE))
            node = task.op("ftoi", task.op("add", node, FromBuffer(digits[1])))
            out[side] = self.temp(f"address{side}", I32, side, rows=self.experts.top_k)
            task.out(node, out[side])
        return out

    def numbers(self, picks: list[Buffer]) -> dict[int, Buffer]:
        """Rows of the bias tables that belong to the slots' experts, on each side of the chip."""
        task, value = self.everywhere(self.picked(picks, self.layout.choice["number"], "number"))
        node = task.op("ftoi", value)
        out = {}
        for side in (0, 1):
            out[side] = self.temp(f"number{side}", I32, side, rows=self.experts.top_k)
            task.out(node, out[side])
        return out

    def bias_of(self, part: str, c: int, slot: int, numbers: dict[int, Buffer]) -> FromGather:
        """A row of a bias table; its number comes from the other side, so that it passes the table outward."""
        table = self.layout.choice[f"{part}.bias"][c]
        side = self.layout.image.g.side_of(table.slices[0][0])
        return FromGather(table, numbers[1 - side], slot)

    def down_biases(self, numbers: dict[int, Buffer], shares: Buffer) -> list[Buffer]:
        """Σ over slots of share · bias of the own shard."""
        out = []
        for c in range(self.layout.shard.n_own):
            total: Buffer | None = None
            for s in range(self.experts.top_k):
                task = self.task("down")
                bias = self.bias_of("down", c, s, numbers)
                node = task.op("mul", bias, FromBuffer(shares, s))
                if total is not None:
                    node = task.op("add", node, FromBuffer(total))
                total = self.temp(f"down_bias{c}.{s}", F32)
                task.out(node, total)
            assert total is not None
            out.append(total)
        return out

    # ---------------------------------------------------------------------------------------------------- shares
    def shares(self, picks: list[Buffer], logits: list[Buffer], scores: list[Buffer]) -> Buffer:
        """Weight of each slot, in every lane of its row."""
        experts, k = self.experts, self.experts.top_k
        parts = []
        for v, row in enumerate(scores):
            task = self.task("share")
            whole = self.split(task, task.op("mov", FromBuffer(row)), f"score{v}")
            for part, name in ((whole.high, "high"), (whole.low, "low")):
                parts += self.picked(picks[v : v + 1], [part], f"score.{v}.{name}")
        task, value = self.everywhere(parts)
        chosen, top = (self.temp(name, F32, rows=k) for name in ("chosen", "top"))
        node = task.op("mov", value)
        task.out(node, chosen)
        task.out(node, top)
        if experts.scoring != "sigmoid":
            task = self.task("share", rows=k)
            away = task.op("sub", FromBuffer(chosen), FromBuffer(top, fixed_row=True))
            chosen = self.temp("powers", F32, rows=k)
            task.out(task.op("exp", away), chosen)
        over: Buffer | None = None
        if experts.scoring == "softmax" and not experts.norm_topk:
            over = self.all_powers(logits, top)
        elif experts.scoring != "sigmoid" or experts.norm_topk:
            over = self.slot_sum(chosen)
        is_part = self.layout.parts[1] < self.layout.parts[2]
        within = self.within(picks) if is_part else None
        task = self.task("share", rows=k)
        node = task.op("mul", FromBuffer(chosen), experts.routed_scale)
        if over is not None:
            root = task.op("rsqrt", FromBuffer(over, fixed_row=True))
            node = task.op("mul", node, task.op("mul", root, root))
        if within is not None:
            node = task.op("mul", node, FromBuffer(within))
        out = self.temp("shares", F32, rows=k)
        task.out(node, out)
        return out

    def slot_sum(self, rows: Buffer) -> Buffer:
        """Sum over slots, as a chain."""
        total: Buffer | None = None
        for s in range(rows.rows):
            task = self.task("share")
            node = task.op("mov", FromBuffer(rows, s))
            if total is not None:
                node = task.op("add", node, FromBuffer(total))
            total = self.temp(f"slots{s}", F32)
            task.out(node, total)
        assert total is not None
        return total

    def all_powers(self, logits: list[Buffer], top: Buffer) -> Buffer:
        """Σ e^(logit − largest) over all experts, in every lane."""
        parts = []
        for v, row in enumerate(logits):
            task = self.task("share")
            power = task.op("exp", task.op("sub", FromBuffer(row), FromBuffer(top)))
            whole = self.split(task, power, f"power{v}")
            parts += [whole.high, whole.low]
        return self.lane_sums(self.layout.image.ones(0), [(parts, 1.0)], "powers")

    def within(self, picks: list[Buffer]) -> Buffer:
        """1 for slots whose expert lies on these chips, else 0."""
        task, value = self.everywhere(self.picked(picks, self.layout.choice["within"], "within"))
        out = self.temp("inside", F32, rows=self.experts.top_k)
        task.out(task.op("mov", value), out)
        return out

    # ----------------------------------------------------------------------------------------------------- slots
    def lay_slots(self, maps: dict[int, Buffer]) -> None:
        """A tile for each slot and tile of an expert, looked up by the slot's address; and the down tiles of all."""
        layout = self.layout
        tiles, shared = layout.image.tiles, "0.shared.down" in layout.matrices
        n_chunks = len(layout.ffn)
        for s in range(self.experts.top_k):
            for (key, o, i), tile in list(tiles.items()):
                if key not in ("0.gate", "0.up", "0.down"):
                    continue
                found = maps[tile.side]
                looked_up = replace(
                    tile, name=f"{tile.name}@{s}", maps=found, map_row=s, sources=(found,)
                )
                if key == "0.down":
                    tiles["0.mix", o, s * n_chunks + i] = looked_up
                else:
                    tiles[f"{key}@{s}", o, i] = looked_up
        for s in range(self.experts.top_k):
            for key in ("0.gate", "0.up"):
                layout.matrices[f"{key}@{s}"] = layout.matrices[key]
                if key in layout.scale:
                    layout.scale[f"{key}@{s}"] = layout.scale[key]
        down = layout.matrices["0.down"]
        n_down = self.experts.top_k * n_chunks
        n_more = len(layout.matrices["0.shared.down"].into) if shared else 0
        for i in range(n_more):
            for o in range(len(down.out)):
                tiles["0.mix", o, n_down + i] = tiles["0.shared.down", o, i]
        lanes = down.into[[0] * (n_down + n_more)]
        layout.matrices["0.mix"] = Matrix(
            "0.mix", down.tensor, down.out, lanes, n_bytes=down.n_bytes
        )
        if "0.down" in layout.scale:
            layout.scale["0.mix"] = layout.scale["0.down"]
            layout.factor["0.mix"] = layout.factor["0.down"]

    def slots(
        self, gathered: Gathered, shares: Buffer, numbers: dict[int, Buffer] | None
    ) -> list[list[Operand]]:
        """Activated hidden rows of all slots, times their shares, and of the shared experts."""
        out: list[list[Operand]] = []
        plain = numbers is None and self.experts.swiglu_limit is None
        for s in range(self.experts.top_k):
            for c in range(len(self.layout.ffn)):
                if plain:
                    task, node = self.gated("0.", f"@{s}", c, gathered)
                else:
                    task, node = self.clamped(s, c, gathered, numbers)
                node = task.op("mul", node, FromBuffer(shares, s))
                out.append([self.operand(task, node, f"h@{s}.{c}", "0.mix")])
        if "0.shared.down" in self.layout.matrices:
            for c in range(len(self.layout.matrices["0.shared.gate"].out)):
                task, node = self.gated("0.shared.", "", c, gathered)
                out.append([self.operand(task, node, f"h.shared.{c}", "0.mix")])
        return out

    def gated(self, prefix: str, slot: str, c: int, gathered: Gathered) -> tuple[Task, FromNode]:
        """One vector of an expert's hidden rows."""
        key = f"{prefix}gate{slot}"
        task, node = self.activated(key, c, gathered.sources, gathered.later)
        gate = self.temp(f"{key}{c}", F32)
        task.out(node, gate)
        key = f"{prefix}up{slot}"
        task, feed, _ = self.product(key, c, gathered.sources, "up")
        up = self.scaled(task, key, c, feed, gathered.later)
        return task, task.op("mul", up, FromBuffer(gate))

    def clamped(
        self, slot: int, c: int, gathered: Gathered, numbers: dict[int, Buffer] | None
    ) -> tuple[Task, FromNode]:
        """The same with biases and the clamped activation of gpt-oss."""
        task, node = self.bounded("gate", slot, c, gathered, numbers)
        gate, again = (self.temp(f"gate@{slot}.{c}.{i}", F32) for i in range(2))
        task.out(node, gate)
        task.out(node, again)
        task, node = self.bounded("up", slot, c, gathered, numbers)
        if self.experts.swiglu_limit is not None:
            node = task.op("add", task.op("max", node, -self.experts.swiglu_limit), 1.0)
        up = self.temp(f"up@{slot}.{c}", F32)
        task.out(node, up)
        task = self.task("up")
        power = task.op(
            "exp", task.op("mul", FromBuffer(gate), -(self.experts.swiglu_alpha or 1.0))
        )
        root = task.op("rsqrt", task.op("add", power, 1.0))
        node = task.op("mul", task.op("mul", root, root), FromBuffer(again))
        return task, task.op("mul", node, FromBuffer(up))

    def bounded(
        self, part: str, slot: int, c: int, gathered: Gathered, numbers: dict[int, Buffer] | None
    ) -> tuple[Task, FromNode]:
        """A product of an expert with its bias, at most the limit."""
        key = f"0.{part}@{slot}"
        task, product, _ = self.product(key, c, gathered.sources, part)
        value = self.scaled(task, key, c, product, gathered.later)
        if numbers is not None:
            value = task.op("add", value, self.bias_of(part, c, slot, numbers))
        if self.experts.swiglu_limit is not None:
            value = task.op("min", value, self.experts.swiglu_limit)
        return task, value if isinstance(value, FromNode) else task.op("mov", value)
