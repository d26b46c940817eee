"""Whatever bytes an accelerator's file holds: an accelerator or a TaktError, nothing else."""

import tempfile
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from takt.chips import load_accelerator
from takt.chips.accelerator_schema import GROUPS, SPECS
from takt.chips.lookup import check_chips, load_any
from takt.chips.read_accelerator import ACCELERATOR
from takt.errors import TaktError

SEED = (ACCELERATOR.folder / "h100-sxm.toml").read_bytes()
HEADS = ("id", "name", "vendor", "architecture", "nearest", "kind", "aliases", "inherit", "sources")

values = st.one_of(
    st.integers(min_value=-(2**70), max_value=2**70).map(str),
    st.floats().map(lambda x: repr(x).replace("e+", "e")),
    st.sampled_from(
        ["true", '""', '"x"', "[]", "{}", "2020-01-01", '["a", "b"]', "[1]", "{ unknown = true }"]
    ),
    st.sampled_from(
        [
            '{ value = 4, kind = "derived", source = "x", date = "2020" }',
            '[{ value = 4, date = "2020" }, { value = 8, date = "2021" }]',
            "{ value = { value = 1 }, unit = 3, kind = [], source = 1.5, date = true, note = {} }",
        ]
    ),
)
keys = st.sampled_from([*sorted(SPECS), *sorted(GROUPS), *HEADS])
lines = st.tuples(keys, values).map(lambda pair: f"{pair[0]} = {pair[1]}")


def survives(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "my.toml"
        path.write_bytes(data)
        try:
            chip = load_accelerator(path)
        except TaktError as error:
            assert str(error)
        else:
            assert chip.memory.capacity_bytes > 0
            assert chip.ops_per_s("fp4") > 0
            assert load_any(path) == chip
            assert not check_chips([path])


@given(st.binary(max_size=200))
def test_any_bytes(data: bytes) -> None:
    survives(data)


@given(st.text(max_size=200))
def test_any_text_after_a_base(text: str) -> None:
    survives(f'base = "h100-sxm"\n{text}'.encode("utf-8", "surrogatepass"))


@given(st.lists(lines, max_size=6, unique_by=lambda line: line.split(" = ")[0]))
def test_any_overrides(overrides: list[str]) -> None:
    survives("\n".join(['base = "h100-sxm"', *overrides]).encode())


@given(st.data())
def test_a_good_file_with_a_piece_changed(data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(SEED)))
    stop = data.draw(st.integers(start, min(len(SEED), start + 40)))
    piece = data.draw(st.binary(max_size=20))
    survives(SEED[:start] + piece + SEED[stop:])
