"""The front door: an image network on a chip, as one static program, and its runs."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from takt.chips import Chip
from takt.errors import CapacityError, CompileError, DenseQueueError, UsageError
from takt.lpu.fast import FastEngine, Prepared
from takt.lpu.isa.program import Program
from takt.lpu.isa.supply import plan_supply, text_image
from takt.lpu.isa.table import BY_NAME
from takt.lpu.machine import Activity, Memory, ReferenceEngine, prove
from takt.lpu.vision.bound import VisionBound, find_bound
from takt.lpu.vision.convolve import put_conv
from takt.lpu.vision.floats import check_images, peaks, plain_images
from takt.lpu.vision.floor import LANES, PACES, Floor
from takt.lpu.vision.fold import fold_issues
from takt.lpu.vision.graph import Conv, Floats, ImageGraph, untangle
from takt.lpu.vision.layouts import Ints
from takt.lpu.vision.numbers import (
    Meaning,
    Numbers,
    constant_lanes,
    float_numbers,
    integer_numbers,
    least_scale,
    logit_meaning,
    meanings,
    rest_vector,
)
from takt.lpu.vision.passes import deal_out
from takt.lpu.vision.patches import patch_vectors
from takt.lpu.vision.plan import Deal, Plan, Step, make_plan
from takt.lpu.vision.pool import put_half_pool
from takt.lpu.vision.tensors import Tensor, new_tensor
from takt.lpu.vision.timeline import Scheduler, StepTime
from takt.lpu.vision.weights import Store, TileMaker
from takt.lpu.vision.windows import window_classes

ENGINES = ("fast", "reference")


@dataclass(slots=True, eq=False)
class VisionCompiled:
    """One image through the network. `program.cycles` is proved; `steps` say when each layer ran."""

    graph: ImageGraph
    chip: Chip
    weights: str
    program: Program
    activity: Activity
    bound: VisionBound
    steps: tuple[StepTime, ...]
    sram_bytes: int
    _plan: Plan = field(repr=False)
    _store: Store = field(repr=False)
    _tensors: dict[str, Tensor] = field(repr=False)
    _meaning: dict[str, Meaning] = field(repr=False)
    _ready: tuple[Memory, FastEngine, Prepared] | None = field(default=None, repr=False)

    @property
    def cycles(self) -> int:
        """Cycles of one image, from the patches in SRAM to the logits in SRAM."""
        return self.program.cycles

    @property
    def patch_bytes(self) -> int:
        """What the host writes for one image: every patch once. The transfer is not in the cycles."""
        tensor = self._tensors[self.graph.input]
        return self._plan.patches.y.size * self.graph.input_shape[0] * tensor.element_bytes

    def run(self, images: NDArray[np.floating], *, engine: str = "fast") -> Floats:
        """Logits f32 [n, classes] of images [n, channels, height, width], which are what the network's input takes.

        Images run one after the other. UsageError for an unknown engine, ModelError for images that do not fit.
        """
        if engine not in ENGINES:
            raise UsageError(f"engine {engine!r}: expected one of {', '.join(ENGINES)}")
        batch = check_images(self.graph, images)
        logits = []
        for image in batch:
            memory = self._run_fast(image) if engine == "fast" else self._run_reference(image)
            logits.append(self.read_logits(memory))
        return np.stack(logits)

    def _run_fast(self, image: Floats) -> Memory:
        if self._ready is None:
            memory = Memory(self.chip)
            self.load(memory)
            fast = FastEngine(self.chip, memory)
            self._ready = memory, fast, fast.prepare(self.program)
        memory, fast, prepared = self._ready
        self.write_image(memory, image)
        fast.run(prepared)
        return memory

    def _run_reference(self, image: Floats) -> Memory:
        memory = Memory(self.chip)
        self.load(memory)
        self.write_image(memory, image)
        ReferenceEngine(self.chip, memory).run(self.program)
        return memory

    def load(self, memory: Memory) -> None:
        """Put weights, constants and program text into SRAM."""
        for queue, word, rows in self._store.words:
            memory.data[queue, word : word + len(rows)] = rows
        for slice_, word, text in text_image(self.program, self.chip):
            data = np.frombuffer(text, np.uint8).reshape(-1, LANES)
            memory.data[slice_, word : word + len(data)] = data

    def write_image(self, memory: Memory, image: Floats) -> None:
        """Write the patches of the first layer: the host's work."""
        tensor = self._tensors[self.graph.input]
        planes = self._encode(patch_vectors(self._plan.patches, image), tensor)
        for queue, where, slot in _places(self._store.floor, tensor, 0):
            memory.data[queue, tensor.word[where, 0]] = planes[slot % tensor.element_bytes, where]

    def _encode(self, values: Floats, tensor: Tensor) -> NDArray[np.uint8]:
        """Byte planes [bytes of an element, vectors, lanes]."""
        if tensor.element_bytes == 2:
            limit = np.finfo(np.float16).max
            padded = np.zeros((len(values), LANES), np.float16)
            padded[:, : values.shape[1]] = np.clip(values, -limit, limit)
            return padded.view(np.uint8).reshape(len(values), LANES, 2).transpose(2, 0, 1)
        meaning = self._meaning[tensor.name]
        rows = np.tile(rest_vector(tensor.layout, meaning.zero), (len(values), 1))
        codes = np.rint(values / np.float32(meaning.scale)) + meaning.zero
        rows[:, : values.shape[1]] = np.clip(codes, -128, 127)
        return rows.view(np.uint8)[np.newaxis]

    def read_logits(self, memory: Memory) -> Floats:
        """The network's output, f32 [classes · height · width], in the order of the original tensor."""
        name = self.graph.output
        tensor, shape = self._tensors[name], self.graph.shapes()[name]
        out = np.zeros(shape, np.float32)
        y, x = tensor.layout.pixels()
        inside = (y >= 0) & (y < shape[1]) & (x >= 0) & (x < shape[2])
        for chunk in range(tensor.layout.chunks):
            channels = tensor.layout.channels(chunk)
            planes = np.zeros((2, tensor.layout.size, LANES), np.uint8)
            for queue, where, slot in _places(self._store.floor, tensor, chunk):
                if slot < 2:
                    planes[slot, where] = memory.data[queue, tensor.word[where, chunk]]
            values = np.ascontiguousarray(planes.transpose(1, 2, 0)).view(np.float16)[..., 0]
            for g in range(len(tensor.layout.offsets)):
                first, ok = g * tensor.layout.width, inside[:, g]
                lanes = values[ok, first : first + len(channels)].astype(np.float32)
                out[channels.start : channels.stop, y[ok, g], x[ok, g]] = lanes.T
        return (out * np.float32(self._meaning[name].scale)).reshape(-1)


def _places(floor: Floor, tensor: Tensor, chunk: int) -> list[tuple[int, Ints, int]]:
    """(queue, vectors, slot) of every slice that holds a part of a tensor."""
    found = []
    for chain in range(floor.n_arrays):
        where = np.flatnonzero(tensor.chain[:, chunk] == chain)
        for slot in range(tensor.slots):
            found.append((floor.set_slice(tensor.set, chain, slot).queue, where, slot))
    return found


def compile_vision(
    graph: ImageGraph,
    chip: Chip,
    *,
    weights: str = "int8",
    calibration: NDArray[np.floating] | None = None,
) -> VisionCompiled:
    """Compile a network for single images. `calibration`: images whose largest magnitudes give the scales of int8.

    Without them two made-up images serve. Raises UnsupportedError, CapacityError, and UsageError for other weights.
    """
    if weights not in ("int8", "fp16"):
        raise UsageError(f"weights {weights!r}: expected 'int8' or 'fp16'")
    graph = untangle(graph)
    largest = max(channels * rows * columns for channels, rows, columns in graph.shapes().values())
    if largest > chip.sram_bytes:
        raise CapacityError(
            f"a tensor of {graph.name} alone does not fit",
            resource="bytes of SRAM",
            needed=largest,
            available=chip.sram_bytes,
            stage="lay out",
        )
    plan = make_plan(graph, chip)
    is_f16 = weights == "fp16"
    images = plain_images(graph) if calibration is None else check_images(graph, calibration)
    peak = {} if is_f16 else peaks(graph, images)
    refused: CompileError | None = None
    for pace in PACES:
        try:
            build = _Build(graph, plan, Floor(chip, is_f16=is_f16, pace=pace), peak)
            for step in plan.steps:
                build.step(step)
            return build.finish(weights)
        except DenseQueueError as error:
            refused = error
        except CapacityError:
            # With one bank, half of each slice: what does not fit it may fit both.
            if pace.banks > 1:
                raise
    raise refused or CompileError(f"no pace suits {graph.name}", stage="schedule")


class _Build:
    """One compilation: tensors get places, steps get times."""

    def __init__(self, graph: ImageGraph, plan: Plan, floor: Floor, peak: dict[str, float]) -> None:
        self.graph, self.plan, self.floor = graph, plan, floor
        self.store = Store(floor)
        self.scheduler = Scheduler(floor)
        plain = Meaning(scale=1.0, zero=0)
        self.meaning = dict.fromkeys(plan.layouts, plain) if floor.is_f16 else meanings(plan, peak)
        if not floor.is_f16:
            last = graph.layers[-1]
            assert isinstance(last, Conv)
            least = least_scale(last, self.meaning[last.input].scale)
            self.meaning[graph.output] = logit_meaning(peak[graph.output], least)
        self.tensors: dict[str, Tensor] = {}
        self._image()

    def _new(self, name: str) -> Tensor:
        is_final = name == self.graph.output
        floor, set_ = self.floor, self.plan.sets[name]
        words = self.scheduler.words
        first = int(words[set_, :, 0].max())
        words[set_, :, 0] = first + 1
        layout = self.plan.layouts[name]
        tensor = new_tensor(
            name,
            layout,
            set_,
            1 if is_final else floor.n_arrays,
            2 if is_final else floor.element_bytes,
            first,
        )
        if not floor.is_f16:
            rest = rest_vector(layout, self.meaning[name].zero)
            for chain in range(floor.n_arrays):
                for slot in range(tensor.slots):
                    self.store.put(floor.set_slice(set_, chain, slot).queue, first, rest)
        self.tensors[name] = tensor
        return tensor

    def _image(self) -> None:
        """Places for the patches: each where the array that reads it finds it."""
        tensor = self._new(self.graph.input)
        tensor.ready[:] = -1
        for chain, mine in enumerate(deal_out(Deal.RUNS, tensor.layout, self.floor.n_arrays)):
            self.scheduler.place(tensor, chain, mine, 0, 0)

    def step(self, step: Step) -> None:
        """Put the next step into the program."""
        name = step.name
        source, target = self.tensors[step.input], self._new(name)
        deal = self.plan.deals[name]
        if not isinstance(step, Conv):
            put_half_pool(self.scheduler, step, deal, source, target)
            return
        classes = (
            self.plan.patches.classes
            if step.input == self.graph.input
            else window_classes(step, source.layout, target.layout)
        )
        maker = TileMaker(step, self._numbers(step), source.layout, target.layout)
        residual = self.tensors[step.residual] if step.residual else None
        zero = self.meaning[name].zero
        put_conv(
            self.scheduler, self.store, step, maker, classes, deal, source, target, residual, zero
        )

    def _numbers(self, step: Conv) -> Numbers:
        if self.floor.is_f16:
            return float_numbers(step)
        residual = self.meaning[step.residual] if step.residual else None
        first, one = constant_lanes(self.plan.layouts[step.input])
        return integer_numbers(
            step, self.meaning[step.input], self.meaning[step.name], residual, one - first
        )

    def finish(self, weights: str) -> VisionCompiled:
        """Issues to instructions, text, proof."""
        floor, chip = self.floor, self.floor.chip
        banks, size = self.scheduler.words.max(axis=(0, 1)).tolist(), self.scheduler.bank_words
        if max(banks) > size:
            raise CapacityError(
                "activations do not fit",
                resource="words of a bank",
                needed=max(banks),
                available=size,
                stage="lay out",
            )
        rows = self._without_unread(self.scheduler.issues.rows())
        program = Program(
            chip_id=chip.id,
            instructions=fold_issues(rows),
            name=f"{self.graph.name}.{weights}",
            constant=self._constant(),
        )
        shelves = [
            (slice_.queue, bank * size + used, (bank + 1) * size)
            for slice_ in floor.set_slices()
            for bank, used in enumerate(banks)
        ]
        program = plan_supply(program, chip, shelves)
        report = prove(program, chip)
        return VisionCompiled(
            graph=self.graph,
            chip=chip,
            weights=weights,
            program=replace(program, cycles=report.cycles),
            activity=report.activity,
            bound=find_bound(chip, floor, self.scheduler.times, rows),
            steps=tuple(self.scheduler.times),
            sram_bytes=LANES * self._words_used(),
            _plan=self.plan,
            _store=self.store,
            _tensors=self.tensors,
            _meaning=self.meaning,
        )

    def _words_used(self) -> int:
        per_set = self.scheduler.words.sum() * 8 * 2 // self.floor.n_arrays
        return int(per_set) + 16 * sum(self.store.weight_end) + 8 * self.store.constant_end

    def _constant(self) -> NDArray[np.int64]:
        floor, store = self.floor, self.store
        ranges = [
            (floor.weight_slice(side, i).queue, 0, store.weight_end[side])
            for side in (0, 1)
            for i in range(16)
        ]
        ranges += [
            (floor.constant_slice(side, i).queue, 0, store.constant_end)
            for side in (0, 1)
            for i in range(4)
        ]
        return np.array([r for r in ranges if r[2]], np.int64).reshape(-1, 3)

    def _without_unread(self, rows: NDArray[np.void]) -> NDArray[np.void]:
        """Drop the writes of copies of tensors that no one reads."""
        owner = np.full((1 << 8, self.floor.chip.mem.words_per_slice), -1, np.int16)
        for i, tensor in enumerate(self.tensors.values()):
            for chunk in range(tensor.layout.chunks):
                for queue, where, _ in _places(self.floor, tensor, chunk):
                    owner[queue, tensor.word[where, chunk]] = i
        memory = np.isin(rows["op"], [BY_NAME["read"].op, BY_NAME["write"].op])
        key = np.full(len(rows), -1, np.int64)
        key[memory] = owner[rows["queue"][memory], rows["a"][memory]]
        key = np.where(key < 0, -1, key << 16 | rows["queue"])
        is_read = memory & (rows["op"] == BY_NAME["read"].op)
        final = list(self.tensors).index(self.graph.output)
        keep = np.isin(key, key[is_read]) | (key < 0) | (key >> 16 == final)
        return np.asarray(rows[keep | is_read])
