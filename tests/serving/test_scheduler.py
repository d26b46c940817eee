"""The scheduler of one replica, driven by hand: steps of vLLM's rules, worked out on paper."""

from collections import Counter

import pytest

from takt.serving import EventKind, Policy
from takt.serving.blocks import Text
from takt.serving.drafts import accepted, thresholds
from takt.serving.scheduler import Scheduler, Ticket


def ticket(number, tokens, *, rank=0, cached=False, group=-1, shared=0, session=-1, seen=0):
    text = Text(group=group, group_tokens=shared, session=session)
    made = Ticket(number, (rank, number, number), tokens, text, seen_tokens=seen)
    if cached:
        made.has_cache, made.computed = True, tokens - 1
    return made


def scheduler(*tickets, **policy):
    made = Scheduler(Policy(**{"block_tokens": 4, "n_blocks": 1000, **policy}))
    for each in tickets:
        made.add(each)
    return made


def rows_of(step):
    """(request, new, cached) of each row."""
    return [] if step is None else [(row.ticket.request, row.new, row.cached) for row in step.rows]


def advance(serving, *, ends=()):
    """One step is run: everybody who yields gets a token, and those of `ends` are finished. What the step was."""
    step = serving.next_step()
    for row in step.rows if step else []:
        serving.computed(row, int(row.yields))
        if row.ticket.request in ends and row.yields:
            serving.finish(row.ticket)
    return rows_of(step)


def kinds(serving):
    return [(action.kind, action.ticket.request) for action in serving.actions]


def test_a_long_prompt_is_read_in_chunks_of_what_a_step_has_room_for():
    serving = scheduler(ticket(0, 25), max_step_tokens=10)
    steps = [advance(serving) for _ in range(5)]
    assert steps == [[(0, 10, 0)], [(0, 10, 10)], [(0, 5, 20)], [(0, 1, 25)], [(0, 1, 26)]]


def test_who_generates_goes_before_prompts_and_prompts_get_what_is_left():
    serving = scheduler(ticket(0, 4), ticket(1, 30), max_step_tokens=8)
    assert advance(serving) == [(0, 4, 0), (1, 4, 0)]
    assert advance(serving) == [(0, 1, 4), (1, 7, 4)]
    serving.add(ticket(2, 3))
    assert advance(serving) == [(0, 1, 5), (1, 7, 11)]  # a prompt under way before one that waits
    assert [advance(serving) for _ in range(2)][1] == [(0, 1, 7), (1, 5, 25), (2, 2, 0)]


def test_a_prompt_that_ends_in_a_step_yields_its_first_token_there():
    serving = scheduler(ticket(0, 9), max_step_tokens=5)
    assert [row.yields for row in serving.next_step().rows] == [False]
    serving = scheduler(ticket(0, 5), max_step_tokens=5)
    assert [row.yields for row in serving.next_step().rows] == [True]


def test_no_more_run_than_there_are_slots():
    serving = scheduler(*(ticket(i, 4) for i in range(5)), max_seqs=2)
    assert [row[0] for row in advance(serving)] == [0, 1]
    assert [row[0] for row in advance(serving, ends=[0])] == [0, 1]
    assert [row[0] for row in advance(serving)] == [1, 2]


def test_the_first_that_does_not_fit_holds_back_those_behind_it():
    serving = scheduler(ticket(0, 16), ticket(1, 24), ticket(2, 4), n_blocks=8)
    assert [row[0] for row in advance(serving)] == [0]
    assert [key[2] for key, _ in serving.waiting] == [1, 2]


def test_without_mixed_steps_prompts_are_read_first_and_alone():
    serving = scheduler(ticket(0, 4), mixed=False, max_step_tokens=8)
    assert advance(serving) == [(0, 4, 0)]
    assert advance(serving) == [(0, 1, 4)]
    serving.add(ticket(1, 12))
    assert advance(serving) == [(1, 8, 0)]
    assert advance(serving) == [(1, 4, 8)]
    assert advance(serving) == [(0, 1, 5), (1, 1, 12)]


def test_where_blocks_run_out_the_last_in_order_gives_up_its_own_and_is_read_anew():
    serving = scheduler(ticket(0, 8), ticket(1, 8), n_blocks=5, prefix_caching=False)
    assert advance(serving) == [(0, 8, 0), (1, 8, 0)]
    assert advance(serving) == [(0, 1, 8)]  # both ask for a third block; one is left
    assert kinds(serving) == [(EventKind.PREEMPT, 1)]
    assert serving.actions[0].a == 8
    assert [advance(serving) for _ in range(3)] == [[(0, 1, 9)], [(0, 1, 10)], [(0, 1, 11)]]
    assert advance(serving, ends=[0]) == [(0, 1, 12)]
    assert advance(serving) == [(1, 9, 0)]  # prompt and the token that it had


def test_one_put_out_finds_again_what_nobody_has_taken():
    serving = scheduler(ticket(0, 8, session=-2), ticket(1, 8, session=-3), n_blocks=5)
    advance(serving)
    assert advance(serving) == [(0, 1, 8)]  # takes the one free block
    assert kinds(serving) == [(EventKind.PREEMPT, 1)]
    assert [advance(serving) for _ in range(3)] == [[(0, 1, 9)], [(0, 1, 10)], [(0, 1, 11)]]
    assert advance(serving, ends=[0]) == [(0, 1, 12)]  # has taken one of the other's two blocks
    assert advance(serving) == [(1, 5, 4)]
    assert not serving.cache.idle
    serving.finish(serving.running[0])
    assert serving.cache.free == 5  # of no session: nobody will ask again


def test_a_prompt_enters_only_where_all_of_it_fits():
    serving = scheduler(ticket(0, 12), ticket(1, 12), n_blocks=5, max_step_tokens=4)
    assert [advance(serving) for _ in range(3)] == [[(0, 4, 0)], [(0, 4, 4)], [(0, 4, 8)]]
    assert advance(serving) == [(0, 1, 12)]  # a chunk of the second would fit


def test_nobody_enters_a_step_in_which_somebody_was_put_out():
    serving = scheduler(
        ticket(0, 8, rank=1), ticket(1, 8, rank=2), n_blocks=5, order="priority", prefix_caching=False
    )  # fmt: skip
    advance(serving)
    serving.add(ticket(2, 4, rank=0))  # would fit where the second was
    assert advance(serving) == [(0, 1, 8)]
    assert [key[2] for key, _ in serving.waiting] == [2, 1]
    assert advance(serving) == [(0, 1, 9), (2, 4, 0)]


def test_one_put_out_after_its_place_in_the_step_was_chosen_gives_its_tokens_back():
    low, high = ticket(0, 8, rank=5), ticket(1, 8, rank=0)
    serving = scheduler(low, n_blocks=5, order="priority", prefix_caching=False)
    advance(serving)
    serving.add(high)
    assert advance(serving) == [(0, 1, 8), (1, 8, 0)]
    step = serving.next_step()  # request 0 has room in its third block, 1 asks for one more
    assert kinds(serving) == [(EventKind.PREEMPT, 0)]
    assert rows_of(step) == [(1, 1, 8)]
    assert step.tokens == 1


def test_higher_tiers_enter_first_and_among_equals_who_came_first():
    serving = scheduler(
        ticket(0, 4, rank=2), ticket(1, 4, rank=0), ticket(2, 4, rank=2), ticket(3, 4, rank=1), max_seqs=1
    )  # fmt: skip
    order = [advance(serving, ends=range(4))[0][0] for _ in range(4)]
    assert order == [1, 3, 0, 2]


def test_a_prompt_longer_than_the_whole_cache_is_refused_and_the_next_enters():
    serving = scheduler(ticket(0, 33), ticket(1, 32), n_blocks=8, max_step_tokens=100)
    assert advance(serving) == [(1, 32, 0)]
    assert kinds(serving) == [(EventKind.REJECT, 0), (EventKind.ADMIT, 1)]


def test_an_answer_that_outgrows_the_whole_cache_is_given_up():
    serving = scheduler(ticket(0, 30), n_blocks=8)
    assert [advance(serving) for _ in range(4)] == [[(0, 30, 0)], [(0, 1, 30)], [(0, 1, 31)], []]
    assert kinds(serving) == [(EventKind.REJECT, 0)]
    assert serving.cache.free == 8 and not serving.load


def test_the_next_turn_of_a_session_reads_only_what_is_new():
    serving = scheduler(ticket(0, 10, session=7))
    advance(serving)
    advance(serving)
    advance(serving, ends=[0])  # 12 tokens have a cache: three whole blocks
    serving.add(ticket(1, 20, session=7))
    serving.add(ticket(2, 20, session=8))
    assert advance(serving) == [(1, 8, 12), (2, 20, 0)]


def test_a_group_shares_its_prompt_once_one_of_it_has_read_it():
    shared = {"group": 3, "shared": 10}
    serving = scheduler(ticket(0, 14, **shared))
    advance(serving)
    serving.add(ticket(1, 14, **shared))
    assert advance(serving) == [(0, 1, 14), (1, 6, 8)]  # two whole blocks of ten tokens
    assert serving.cache.in_use == 4 + 2


def test_of_a_prompt_that_is_cached_whole_the_last_block_is_read_again_for_its_logits():
    serving = scheduler(ticket(0, 8, session=1))
    for _ in range(3):
        advance(serving)
    advance(serving, ends=[0])
    serving.add(ticket(1, 8, session=1))
    assert advance(serving) == [(1, 4, 4)]


def test_what_a_trace_found_cached_needs_blocks_but_no_reading():
    serving = scheduler(ticket(0, 20, seen=13))
    assert advance(serving) == [(0, 8, 12)]
    assert serving.cache.in_use == 5


def test_without_prefix_caching_nothing_is_found():
    serving = scheduler(ticket(0, 8, session=1), prefix_caching=False)
    advance(serving, ends=[0])
    serving.add(ticket(1, 20, session=1, seen=16))
    assert advance(serving) == [(1, 20, 0)]


def test_the_longest_unread_session_is_forgotten_first():
    serving = scheduler(n_blocks=6)
    for i in range(3):
        serving.add(ticket(i, 8, session=i))
        advance(serving, ends=[i])
    serving.add(ticket(3, 12, session=0))  # reads the oldest again: now 1 is the longest unread
    assert advance(serving, ends=[3]) == [(3, 4, 8)]
    serving.add(ticket(4, 8, session=9))
    advance(serving, ends=[4])
    assert set(serving.cache.chains) == {(False, 0), (False, 2), (False, 9)}


def test_one_whose_cache_was_sent_begins_with_its_next_token():
    serving = scheduler(ticket(0, 9, cached=True))
    assert advance(serving) == [(0, 1, 8)]
    assert serving.actions[0].b == 1
    assert serving.cache.in_use == 3


def test_a_parked_cache_keeps_its_blocks_and_no_slot():
    first = ticket(0, 16)
    serving = scheduler(first, ticket(1, 16), ticket(2, 16), n_blocks=8, max_seqs=1)
    advance(serving)
    serving.park(first)
    assert advance(serving)[0][0] == 1
    serving.park(serving.running[0])
    assert serving.next_step() is None  # no blocks
    serving.unpark(first)
    assert advance(serving) == [(2, 16, 0)]


def test_drafts_take_room_in_the_step_and_blocks_ahead():
    serving = scheduler(
        ticket(0, 4), ticket(1, 4), ticket(2, 4), draft_tokens=3, max_step_tokens=12
    )
    advance(serving)
    assert advance(serving) == [(0, 4, 4), (1, 4, 4), (2, 4, 4)]
    assert serving.cache.in_use == 6
    serving = scheduler(ticket(0, 4), ticket(1, 4), draft_tokens=3, max_step_tokens=8)
    advance(serving)
    serving.add(ticket(2, 9))
    assert advance(serving) == [(0, 4, 4), (1, 4, 4)]


def test_a_token_guessed_wrong_is_computed_again():
    serving = scheduler(ticket(0, 4), draft_tokens=3)
    advance(serving)
    row = serving.next_step().rows[0]
    serving.computed(row, 2)  # one guess held
    assert advance(serving) == [(0, 4, 6)]


@pytest.mark.parametrize("acceptance", [0.0, 0.3, 0.8, 1.0])
def test_drafts_hold_until_the_first_that_does_not(acceptance):
    """P(k hold) = aᵏ (1 − a), the rest at the longest; within four standard errors."""
    n, drafts = 20_000, 4
    limits = thresholds(drafts, acceptance)
    seen = Counter(accepted(limits, 1, i // 100, i % 100) for i in range(n))
    for k in range(drafts + 1):
        p = acceptance**k * (1 - acceptance if k < drafts else 1)
        assert abs(seen[k] / n - p) <= 4 * (p * (1 - p) / n) ** 0.5


def test_draws_of_drafts_depend_on_seed_request_and_place():
    limits = thresholds(4, 0.7)

    def draws(seed, request, first):
        return [accepted(limits, seed, request, first + i) for i in range(64)]

    assert draws(1, 2, 3) == draws(1, 2, 3)
    assert len({tuple(draws(*x)) for x in [(1, 2, 3), (2, 2, 3), (1, 3, 3), (1, 2, 99)]}) == 4


def test_backlog_is_what_is_to_be_computed_before_each_has_its_next_token():
    serving = scheduler(ticket(0, 10), ticket(1, 7), max_step_tokens=6)
    assert serving.backlog_tokens == 17
    advance(serving)
    assert serving.backlog_tokens == 11
    assert serving.load == 2
