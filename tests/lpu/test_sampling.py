"""Choosing tokens: temperature, top-k, top-p, ties, seeds; and when a generation ends."""

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from takt.errors import ModelError, UsageError
from takt.lpu import Generation, Sampler

LOGITS = hnp.arrays(np.float32, st.integers(1, 40), elements=st.floats(-20, 20, width=32))


def logits(*values: float) -> np.ndarray:
    return np.array(values, np.float32)


def test_greedy_takes_the_largest_and_of_equals_the_lowest_id() -> None:
    assert Sampler().pick(logits(1, 3, 2, 3)) == 1


def test_what_is_no_number_is_never_chosen() -> None:
    assert Sampler().pick(logits(np.nan, -1, np.nan)) == 1
    assert Sampler(temperature=5).pick(logits(np.nan, -1, np.nan)) == 1


@pytest.mark.parametrize("values", [(np.nan, np.nan), (-np.inf, -np.inf), (np.inf, 0)])
def test_logits_without_a_largest_number_are_an_error(values: tuple[float, ...]) -> None:
    with pytest.raises(ModelError):
        Sampler().pick(logits(*values))


@given(LOGITS, st.floats(0.1, 10), st.integers(0, 5), st.integers(0, 1000))
def test_top_k_keeps_only_the_k_most_likely(
    values: np.ndarray, temperature: float, k: int, seed: int
) -> None:
    sampler = Sampler(temperature=temperature, top_k=k, seed=seed)
    kept = sorted(range(len(values)), key=lambda i: (-values[i], i))[: k or None]
    assert sampler.pick(values) in kept


@given(LOGITS, st.floats(0.1, 10), st.floats(0.01, 1), st.integers(0, 1000))
def test_top_p_keeps_the_fewest_that_reach_p(
    values: np.ndarray, temperature: float, p: float, seed: int
) -> None:
    chosen = Sampler(temperature=temperature, top_p=p, seed=seed).pick(values)
    scaled = np.exp((values.astype(np.float64) - float(values.max())) / temperature)
    shares = scaled / scaled.sum()
    before = sum(
        shares[i] for i in range(len(values)) if (-values[i], i) < (-values[chosen], chosen)
    )
    assert before < p + 1e-9  # those likelier than the chosen one did not reach p by themselves


def test_a_vanishing_temperature_is_greedy() -> None:
    assert Sampler(temperature=1e-300).pick(logits(0, 2, 1)) == 1


def test_draws_follow_the_probabilities() -> None:
    sampler = Sampler(temperature=2.0, seed=3)
    values = logits(0.0, 2 * np.log(3.0))
    ones = sum(sampler.pick(values) for _ in range(4000))
    assert abs(ones / 4000 - 0.75) < 4 * np.sqrt(0.75 * 0.25 / 4000)


def test_the_seed_fixes_every_draw_and_seeds_differ() -> None:
    values = np.zeros(1000, np.float32)

    def draws(seed: int) -> list[int]:
        sampler = Sampler(temperature=1.0, seed=seed)
        return [sampler.pick(values) for _ in range(20)]

    assert draws(7) == draws(7)
    assert draws(7) != draws(8)


def test_draws_are_the_same_everywhere() -> None:
    sampler = Sampler(temperature=1.0, seed=0)
    assert [sampler.pick(np.zeros(100, np.float32)) for _ in range(5)] == [34, 53, 33, 61, 28]


@pytest.mark.parametrize(
    "options",
    [
        {"temperature": -1.0},
        {"temperature": float("nan")},
        {"temperature": float("inf")},
        {"top_k": -1},
        {"top_p": 0.0},
        {"top_p": 1.5},
        {"top_p": float("nan")},
        {"seed": -1},
    ],
)
def test_senseless_values_are_the_users_mistake(options: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        Sampler(**options)


@dataclass
class FakeSession:
    """Says token + 1 every time; remembers what it was given."""

    context: int = 100
    position: int = 0
    given: list[int] = field(default_factory=list)

    @property
    def compiled(self) -> Any:
        return SimpleNamespace(context=self.context)

    def step(self, token: int) -> Any:
        self.given.append(token)
        self.position += 1
        values = np.zeros(50, np.float32)
        values[token + 1] = 1
        name = f"decode.{self.position // 4}"
        return SimpleNamespace(
            logits=values, cycles=10, step=SimpleNamespace(program=SimpleNamespace(name=name))
        )

    def prompt(self, tokens: list[int]) -> list[Any]:
        return [self.step(token) for token in tokens]


def generate(session: FakeSession, **options: Any) -> Generation:
    defaults: dict[str, Any] = {"prompt_ids": [3, 4], "sampler": Sampler(), "max_tokens": 5}
    made = Generation(session=session, **(defaults | options))  # type: ignore[arg-type]
    assert [each.token for each in made] == [each.token for each in made.tokens]
    return made


def test_each_token_is_fed_back_but_the_last_is_not() -> None:
    session = FakeSession()
    made = generate(session)
    assert [each.token for each in made.tokens] == [5, 6, 7, 8, 9]
    assert session.given == [3, 4, 5, 6, 7, 8]
    assert (made.stop, len(made.prompt)) == ("length", 2)
    assert made.tokens[0].result is made.prompt[-1]


def test_a_stop_token_is_given_out_and_ends_it() -> None:
    made = generate(FakeSession(), stop_ids=(7,))
    assert [each.token for each in made.tokens] == [5, 6, 7]
    assert made.stop == "eos"


def test_a_full_context_ends_it() -> None:
    made = generate(FakeSession(context=4))
    assert [each.token for each in made.tokens] == [5, 6, 7]
    assert made.stop == "context"


def test_the_first_run_of_a_program_is_marked_fresh() -> None:
    made = generate(FakeSession())
    assert [each.fresh for each in made.tokens] == [True, False, True, False, False]


def test_a_prompt_longer_than_the_context_is_the_users_mistake() -> None:
    with pytest.raises(UsageError, match="2 tokens, the context 1"):
        generate(FakeSession(context=1))


def test_no_tokens_are_the_users_mistake() -> None:
    with pytest.raises(UsageError):
        generate(FakeSession(), max_tokens=0)
