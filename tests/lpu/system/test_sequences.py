"""Long sequences, several users, and layers that are cut between stages."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from takt.chips import System, load_system
from takt.errors import UsageError
from takt.lpu.fast import FastSystem
from takt.lpu.machine import Memory, SystemProgram, prove_system
from takt.lpu.system.compile import SystemCompiled, _visits, compile_on_one_chip, compile_system
from takt.lpu.system.programs import Library
from takt.lpu.system.session import SystemSession
from takt.lpu.system.stages import Slot, Stage, _first, _pieces
from takt.models import Experts, Model, random_model, reference_logits

from .conftest import TOLERANCE, ids_of, logits_of, relative_error, run_all, tiny


# --------------------------------------------------------------------------------------------------------- positions
@pytest.mark.parametrize(("weights", "window"), [("fp16", None), ("int8", 100)])
def test_a_sequence_goes_on_across_the_edge_of_a_block(
    weights: str, window: int | None, small_node: System
) -> None:
    """From position 319 to 320 another program takes over, which reads one block of 320 positions more."""
    shape = tiny(n_layers=1, windows=(window,))
    model, ids = random_model(shape, 1), ids_of(shape.vocab_size, 323)
    runs = run_all(model, small_node, 2, ids, weights=weights, context=400)
    runs.assert_alike(TOLERANCE[weights])


@pytest.mark.parametrize(
    ("n", "n_kv_heads", "weights", "window", "n_tokens"),
    [
        (2, 1, "fp16", None, 324),
        (4, 2, "int8", 100, 324),
        pytest.param(2, 1, "int8", None, 645, marks=pytest.mark.slow),
        pytest.param(4, 1, "fp16", None, 645, marks=pytest.mark.slow),
    ],
)
def test_chips_that_hold_the_same_keys_share_a_context(
    n: int,
    n_kv_heads: int,
    weights: str,
    window: int | None,
    n_tokens: int,
    small_node: System,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """From position 320 on another chip's cache takes what is new, and all score the queries of all."""
    shape = tiny(n_layers=1, windows=(window,), n_kv_heads=n_kv_heads, max_context=1024)
    n_parts = n // n_kv_heads
    monkeypatch.setattr("takt.lpu.system.compile._context_parts", lambda *_: [n_parts])
    model, ids = random_model(shape, 1), ids_of(shape.vocab_size, n_tokens)
    runs = run_all(model, small_node, n, ids, weights=weights, context=700)
    runs.assert_alike(TOLERANCE[weights])


def test_five_chips_that_hold_the_same_keys_do_not_share_a_context() -> None:
    """Three key heads on a tray of sixteen: counted by exclusive or, five neighbours are no group."""
    shape = tiny(n_layers=1, n_heads=9, n_kv_heads=3)
    tray = load_system("lpx-rack")
    compiled = compile_system(shape, tray, n_chips=16, group=16, context=400, weights="fp16")
    assert compiled.cut.n_parts == 1
    assert prove_system(compiled.program()).cycles == compiled.step_cycles


@pytest.mark.parametrize("weights", ["fp16", "int8"])
def test_windows_see_the_latest_positions_only(weights: str, small_node: System) -> None:
    """One layer sees 6 positions and one all; a layer that saw all would give other logits."""
    shape = tiny(windows=(6, None))
    model, ids = random_model(shape, 1), ids_of(shape.vocab_size, 20)
    runs = run_all(model, small_node, 2, ids, weights=weights)
    runs.assert_alike(TOLERANCE[weights])
    unbounded = random_model(replace(shape, windows=(None, None)), 1)
    other = np.asarray(reference_logits(unbounded, ids))
    assert relative_error(runs.system[:6], other[:6]) < TOLERANCE[weights]
    assert relative_error(runs.system[-1], other[-1]) > 2 * TOLERANCE[weights]


def test_a_sequence_ends_where_its_context_does(small_node: System) -> None:
    shape = tiny(n_layers=1)
    compiled = compile_system(shape, small_node, n_chips=2, context=3)
    session = SystemSession(compiled, random_model(shape))
    with pytest.raises(UsageError, match="vocabulary"):
        session.step(shape.vocab_size)
    for token in (1, 2, 3):
        session.step(token)
    with pytest.raises(UsageError, match="context of 3 positions is full"):
        session.step(4)


# ------------------------------------------------------------------------------------------------------------- users
def two_users(node: System, group: int) -> tuple[SystemCompiled, Model]:
    shape = tiny()
    compiled = compile_system(
        shape,
        node,
        n_chips=4,
        weights="fp16",
        context=64,
        users=2,
        group=group,
        objective="throughput",
    )
    return compiled, random_model(shape, 1)


@pytest.mark.parametrize("group", [2, 4])
def test_users_have_caches_of_their_own(group: int, small_node: System) -> None:
    """Two sequences in turn on the same chips are the two sequences alone."""
    compiled, model = two_users(small_node, group)
    texts = ids_of(200, 6, 1), ids_of(200, 6, 2)
    alone = [logits_of(SystemSession(compiled, model, user=u), texts[u]) for u in (0, 1)]
    first = SystemSession(compiled, model)
    sessions = first, first.beside(1)
    found: list[list[np.ndarray]] = [[], []]
    # User 1 begins later, and is at other positions throughout.
    for user in (0, 0, 1, 0, 1, 1, 0, 0, 1, 1, 0, 1):
        token = texts[user][sessions[user].position]
        found[user].append(sessions[user].step(token).logits)
    for user in (0, 1):
        assert np.array_equal(np.stack(found[user]).view(np.uint32), alone[user].view(np.uint32))


def test_a_user_that_the_system_was_not_compiled_for_is_refused(small_node: System) -> None:
    compiled, model = two_users(small_node, 2)
    for user in (-1, 2):
        with pytest.raises(UsageError, match="compiled for 2"):
            SystemSession(compiled, model, user=user)
        with pytest.raises(UsageError, match="compiled for 2"):
            compiled.program(user)


def in_flight(compiled: SystemCompiled, starts: list[tuple[int, int]]) -> SystemProgram:
    """Tokens of (user, start cycle) on their way at once."""
    programs = [compiled.program(user) for user, _ in starts]
    first = programs[0]
    assert all(p.programs == first.programs for p in programs)
    return replace(
        first,
        instances=tuple(
            replace(i, start_cycle=i.start_cycle + start)
            for p, (_, start) in zip(programs, starts, strict=True)
            for i in p.instances
        ),
    )


@pytest.mark.parametrize("group", [1, 2, 4])
def test_tokens_of_users_follow_each_other_at_the_interval(group: int, small_node: System) -> None:
    """The stated interval and period are proved: two rounds of both users, all in one schedule."""
    compiled, _ = two_users(small_node, group)
    interval, period = compiled.interval_cycles, compiled.period_cycles
    assert compiled.users * interval <= period
    starts = [(0, 0), (1, interval), (0, period), (1, period + interval)]
    report = prove_system(in_flight(compiled, starts))
    assert report.cycles == period + interval + compiled.step_cycles


def test_tokens_on_their_way_at_once_leave_what_they_leave_in_turn(small_node: System) -> None:
    compiled, model = two_users(small_node, 2)
    chip = compiled.cut.chip
    together: list[list[Memory]] = []
    for starts in ([[(0, 0)], [(1, 0)]], [[(0, 0), (1, compiled.interval_cycles)]]):
        session = SystemSession(compiled, model)
        session.step(5)  # writes the descriptors of position 0 for user 0
        fast = FastSystem(chip, session.memories)
        for now in starts:
            fast.run(fast.prepare(in_flight(compiled, now)))
        together.append(session.memories)
    for one, other in zip(*together, strict=True):
        assert np.array_equal(one.data, other.data)


# -------------------------------------------------------------------------------------------------------------- parts
def with_stages(compiled: SystemCompiled, one: SystemCompiled) -> SystemCompiled:
    """What the stages of `compiled` do one after the other, as a single stage of the one chip of `one`."""
    at, work = _first(one.library)
    slots = []
    for stage in compiled.stages:
        for slot in stage.slots:
            bases = {}
            for name, region in one.library.regions(slot.kind).items():
                bases[name] = at, work
                at += region.words
                work += region.work_words
            slots.append(Slot(kind=slot.kind, layer=slot.layer, bases=bases))
    whole = Stage(slots=tuple(slots), words=at, capacity=at)
    out = replace(one, stages=(whole,), visits=(), transfers={}, _blocks={}, _programs={})
    out.visits = tuple(_visits(out))
    return out


def half_of(compiled: SystemCompiled) -> int:
    """Half the words of everything, feed-forwards cut in two: too few for a whole feed-forward that is most of it."""
    return sum(piece.words for piece in _pieces(compiled.library, 2, 1)) // 2


PARTED: dict[str, dict[str, Any]] = {
    "columns": {"hidden_dim": 2560},
    "many columns": {"hidden_dim": 10240},
    "experts": {"experts": Experts(n_experts=12, top_k=3, hidden_dim=64, scoring="softmax")},
    "experts and shared ones": {
        "experts": Experts(
            n_experts=12,
            top_k=3,
            hidden_dim=64,
            scoring="sigmoid",
            norm_topk=True,
            n_shared=1,
            shared_hidden_dim=64,
        )
    },
}


@pytest.mark.parametrize(
    ("name", "weights"),
    [
        pytest.param(name, weights, marks=[pytest.mark.slow] if slow else [])
        for name, weights, slow in (
            ("columns", "fp16", False),
            ("many columns", "int8", True),
            ("experts", "fp16", True),
            ("experts", "int8", False),
            ("experts and shared ones", "fp16", False),
            ("experts and shared ones", "int8", True),
        )
    ],
)
def test_parts_of_a_feed_forward_in_several_stages_give_the_bits_of_one_chip(
    name: str, weights: str, with_words: Callable[..., System], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stages are given room for so few words that a feed-forward has to be cut, also right after an attention."""
    larger_node = with_words(5120)  # tables need no weight slices here
    changes = PARTED[name]
    shape = tiny(n_layers=1, **changes)
    model, ids = random_model(shape, 1), ids_of(shape.vocab_size, 6)
    one = compile_on_one_chip(shape, larger_node, n=2, weights=weights, context=64)
    whole = compile_system(shape, larger_node, n_chips=2, weights=weights, context=64, group=2)
    limit = half_of(whole)
    monkeypatch.setattr(Library, "capacity", property(lambda _: limit))
    compiled = compile_system(shape, larger_node, n_chips=8, weights=weights, context=64, group=2)
    parted = [s.kind for stage in compiled.stages for s in stage.slots if s.kind.ffn[1]]
    assert any(0 < count < of for _, count, of in (kind.ffn for kind in parted))
    assert any(key[0] for key in compiled.transfers if isinstance(key, tuple))
    found = logits_of(SystemSession(compiled, model), ids)
    expected = logits_of(SystemSession(with_stages(compiled, one), model), ids)
    assert np.array_equal(found.view(np.uint32), expected.view(np.uint32))
    reference = np.asarray(reference_logits(model, ids))
    assert relative_error(found, reference) < TOLERANCE[weights]
