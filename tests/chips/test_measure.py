"""Measuring the machine: what comes out is a chip that Takt can read, and plausible."""

import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from takt.chips import Kind, load_accelerator
from takt.chips.lookup import check_chips
from takt.chips.measure import (
    Effort,
    Host,
    Measured,
    check_path,
    describe_host,
    measure,
    sheet_of,
    write_sheet,
)
from takt.errors import DataError, TaktError, UsageError

SMALL = Effort(array_bytes=1 << 24, dim=128, repeats=2)
HOST = Host(
    model='A "quoted" CPU \\ 1',
    vendor="V",
    architecture="x86_64",
    cores=2,
    memory_bytes=1 << 34,
    free_bytes=1 << 33,
    caches=((1, 1 << 16), (2, 1 << 21)),
)
MEASURED = Measured(
    host=HOST,
    array_bytes=1 << 28,
    read_bytes_per_s=3.5e10,
    copy_bytes_per_s=3.0e10,
    triad_bytes_per_s=3.2e10,
    fp32_ops_per_s=2.0e11,
    half_ops_per_s=4.0e11,
    int8_ops_per_s=8.0e11,
    libraries="numpy 2",
    date="2026-01-31",
)


@pytest.fixture(scope="module")
def measured() -> Measured:
    return measure(describe_host(), SMALL)


def loaded(measured: Measured, path: Path) -> list[tuple[str, Kind, str]]:
    write_sheet(path, sheet_of(measured, path.stem), force=True)
    assert check_chips([path]) == ()
    return [(fact.key, fact.kind, fact.note) for fact in load_accelerator(path).facts]


def test_the_host_has_cores_and_memory() -> None:
    host = describe_host()
    assert host.cores >= 1
    assert 0 < host.free_bytes <= host.memory_bytes
    assert host.model.isprintable()
    assert all(size > 0 for _, size in host.caches)
    assert host.cache_bytes == sum(size for _, size in host.caches)


def test_this_machine_becomes_a_chip(measured: Measured, tmp_path: Path) -> None:
    path = tmp_path / "host.toml"
    write_sheet(path, sheet_of(measured, "host"))
    chip = load_accelerator(path)
    assert (chip.id, chip.kind, chip.nearest) == ("host", "cpu", "host")
    assert chip.memory.capacity_bytes == measured.host.memory_bytes
    assert chip.memory.bytes_per_s == pytest.approx(measured.read_bytes_per_s, rel=1e-3)
    assert chip.ops_per_s("fp32") == pytest.approx(measured.fp32_ops_per_s, rel=1e-3)
    assert chip.ops_per_s("bf16") >= chip.ops_per_s("fp32")
    assert chip.power.tdp_w is None
    assert "numpy" in dict(chip.sources)["run"]


def test_figures_are_those_of_a_computer(measured: Measured) -> None:
    for rate in (
        measured.read_bytes_per_s, measured.copy_bytes_per_s, measured.triad_bytes_per_s
    ):  # fmt: skip
        assert 1e8 < rate < 1e13
    assert 1e8 < measured.fp32_ops_per_s < 1e16


def test_progress_is_told_from_start_to_end() -> None:
    told: list[tuple[str, float]] = []
    measure(describe_host(), SMALL, lambda what, share: told.append((what, share)))
    shares = [share for _, share in told]
    assert shares == sorted(shares)
    assert (shares[0], shares[-1]) == (0.0, 1.0)


def test_without_torch_only_fp32_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    measured = measure(describe_host(), SMALL)
    assert (measured.half_ops_per_s, measured.int8_ops_per_s) == (None, None)
    assert "torch" not in measured.libraries


def test_without_bf16_its_rate_is_that_of_fp32_and_says_so(tmp_path: Path) -> None:
    facts = loaded(replace(MEASURED, half_ops_per_s=None, int8_ops_per_s=None), tmp_path / "a.toml")
    keys = [key for key, *_ in facts]
    assert "peak.int8_ops_per_s" not in keys
    _, kind, note = facts[keys.index("peak.half_ops_per_s")]
    assert kind is Kind.DERIVED
    assert "no library here multiplies bf16" in note
    assert load_accelerator(tmp_path / "a.toml").ops_per_s("bf16") == 2.0e11


def test_an_emulated_bf16_does_not_count(tmp_path: Path) -> None:
    facts = loaded(replace(MEASURED, half_ops_per_s=3e9), tmp_path / "a.toml")
    notes = {key: note for key, _, note in facts}
    assert "3e+09 op/s" in notes["peak.half_ops_per_s"]


def test_bf16_that_was_measured_is_the_rate(tmp_path: Path) -> None:
    loaded(MEASURED, tmp_path / "a.toml")
    assert load_accelerator(tmp_path / "a.toml").ops_per_s("bf16") == 4.0e11


@given(
    st.text(min_size=1, max_size=50),
    st.integers(1, 10**14),
    st.floats(1e3, 1e15),
    st.lists(st.tuples(st.integers(1, 4), st.integers(1, 10**10)), max_size=4),
)
def test_whatever_a_machine_says_its_file_can_be_read(
    tmp_path_factory: pytest.TempPathFactory,
    model: str,
    memory_bytes: int,
    rate: float,
    caches: list[tuple[int, int]],
) -> None:
    line = " ".join("".join(c if c.isprintable() else " " for c in model).split()) or "unknown"
    host = replace(HOST, model=line, memory_bytes=memory_bytes, caches=tuple(caches))
    path = tmp_path_factory.mktemp("host") / "a.toml"
    loaded(replace(MEASURED, host=host, read_bytes_per_s=rate, fp32_ops_per_s=rate), path)
    assert load_accelerator(path).name == f"{line}, 2 cores"


def test_a_machine_without_memory_to_spare_is_not_measured() -> None:
    with pytest.raises(UsageError, match="memory is too small"):
        measure(replace(HOST, free_bytes=1 << 20), SMALL)


@pytest.mark.parametrize("wrong", [{"array_bytes": -1}, {"dim": 1}, {"repeats": 0}])
def test_an_effort_of_nothing_is_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(UsageError):
        Effort(**wrong)


def test_an_existing_file_stays_unless_forced(tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    path.write_text("mine")
    with pytest.raises(UsageError, match="exists") as caught:
        write_sheet(path, "new")
    assert caught.value.hint == "--force writes over it"
    assert path.read_text() == "mine"
    write_sheet(path, "new", force=True)
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("name", ["a.txt", "no/a.toml", "folder.toml"])
def test_where_nothing_can_be_written_is_said_at_once(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder.toml").mkdir()
    with pytest.raises(UsageError):
        check_path(tmp_path / name)


def test_a_failed_write_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: Path, target: Path) -> Path:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(DataError, match="No space left") as caught:
        write_sheet(tmp_path / "a.toml", "new")
    assert isinstance(caught.value, TaktError)
    assert list(tmp_path.iterdir()) == []
