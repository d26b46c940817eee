"""Units, errors and flags: what every room leans on."""

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from takt import errors
from takt.errors import (
    CapacityError,
    CompileError,
    DataError,
    DataErrors,
    MachineFault,
    Problem,
    TaktError,
    UsageError,
    did_you_mean,
)
from takt.flags import debug_level
from takt.units import cycles_to_ns, cycles_to_s, format_bytes, format_si, ns_to_cycles

clocks = st.integers(10**6, 10**11)
amounts = st.integers(0, 10**15)


@given(amounts, clocks)
def test_time_rounds_up_and_never_loses_a_cycle(cycles: int, clock_hz: int) -> None:
    ns = cycles_to_ns(cycles, clock_hz)
    assert ns * clock_hz >= cycles * 10**9 > (ns - 1) * clock_hz
    assert ns_to_cycles(ns, clock_hz) >= cycles


@given(amounts, clocks)
def test_cycles_cover_their_nanoseconds(ns: int, clock_hz: int) -> None:
    cycles = ns_to_cycles(ns, clock_hz)
    assert cycles * 10**9 >= ns * clock_hz > (cycles - 1) * 10**9


def test_conversions_at_900_mhz() -> None:
    assert cycles_to_ns(117_000, 900_000_000) == 130_000
    assert cycles_to_ns(1, 900_000_000) == 2
    assert ns_to_cycles(10_000, 900_000_000) == 9_000
    assert cycles_to_s(900, 900_000_000) == 1e-6


@pytest.mark.parametrize("convert", [cycles_to_ns, ns_to_cycles, cycles_to_s])
def test_a_clock_that_stands_is_refused(convert: object) -> None:
    with pytest.raises(UsageError, match="0 Hz"):
        convert(1, 0)  # type: ignore[operator]


@pytest.mark.parametrize(
    ("size_bytes", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1536, "1.5 KiB"),
        (230_686_720, "220 MiB"),
        (2**60, "1024 PiB"),
    ],
)
def test_bytes_are_written_in_binary_units(size_bytes: int, text: str) -> None:
    assert format_bytes(size_bytes) == text


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        (0, "0 J"),
        (0.27e-12, "270 fJ"),
        (1.5e9, "1.5 GJ"),
        (737.28e12, "737 TJ"),
        (0.0123, "12.3 mJ"),
        (-2500, "-2.5 kJ"),
        (999.7, "1 kJ"),
        (1e24, "1000000 EJ"),
    ],
)
def test_amounts_are_written_with_prefixes(amount: float, text: str) -> None:
    assert format_si(amount, "J") == text


def test_errors_say_where_and_what() -> None:
    error = DataError("bad row", file="a.toml", key="x.y", expected="an integer", found="'z'")
    assert str(error) == "a.toml: x.y: bad row: expected an integer, got 'z'"
    fault = MachineFault(
        "stream is empty", cycle=7, queue="vxm.3", instruction="add", neighbourhood=("nop", "add")
    )
    assert str(fault) == "cycle 7, queue vxm.3, `add`: stream is empty\n  nop\n  add"
    full = CapacityError("no room", resource="words", needed=9000, available=8192, stage="place")
    assert str(full) == "place: no room (needed 9,000 of words, available 8,192)"


@pytest.mark.parametrize(
    "error",
    [
        DataError("bad", file="f", key="k", expected="e", found="g", hint="h"),
        DataErrors([Problem(file="f", key="k", expected="e", found="g")], hint="h"),
        MachineFault("bad", cycle=1, queue="q", instruction="i", neighbourhood=["n"]),
        CapacityError("bad", resource="r", needed=2, available=1, stage="s"),
        CompileError("bad", stage="s"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_errors_survive_the_way_between_processes(error: TaktError) -> None:
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is type(error)
    assert (str(copy), vars(copy)) == (str(error), vars(error))


def test_the_tree_of_errors_has_one_root() -> None:
    classes = [getattr(errors, name) for name in errors.__all__]
    raised = [c for c in classes if isinstance(c, type) and issubclass(c, Exception)]
    assert all(issubclass(c, TaktError) for c in raised)
    assert len(raised) > 8


def test_a_near_miss_is_named_and_nonsense_is_not() -> None:
    assert did_you_mean("lpu-v2", ["lp30", "lpu-v1"]) == "did you mean 'lpu-v1'?"
    assert did_you_mean("zebra", ["lp30", "lpu-v1"]) is None
    assert did_you_mean("l" * 100_000, ["lp30"]) is None


@pytest.mark.parametrize(("text", "level"), [("", 0), ("0", 0), (" 3 ", 3), ("5", 5)])
def test_the_debug_ladder_has_rungs_0_to_5(
    monkeypatch: pytest.MonkeyPatch, text: str, level: int
) -> None:
    monkeypatch.setenv("TAKT_DEBUG", text)
    assert debug_level() == level


@pytest.mark.parametrize("text", ["6", "-1", "yes", "1.0", "²", "11"])
def test_other_rungs_are_refused(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("TAKT_DEBUG", text)
    with pytest.raises(UsageError, match="TAKT_DEBUG"):
        debug_level()
