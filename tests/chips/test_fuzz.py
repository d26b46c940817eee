"""Whatever bytes a stranger's chip file holds: a chip or a TaktError, nothing else."""

import tempfile
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from takt.chips import load_chip
from takt.chips.lookup import check_chips
from takt.chips.schema import GROUPS, SPECS
from takt.errors import TaktError

CATALOGUE = Path(__file__).resolve().parents[2] / "src" / "takt" / "chips" / "catalogue"
SEED = (CATALOGUE / "lpu-v1.toml").read_bytes()

values = st.one_of(
    st.integers(min_value=-(2**70), max_value=2**70).map(str),
    st.floats().map(lambda x: repr(x).replace("e+", "e")),
    st.sampled_from(
        ["true", '""', '"x"', "[]", "{}", "2020-01-01", "[1, [2]]", "{ unknown = true }"]
    ),
    st.sampled_from(
        [
            '{ value = 4, kind = "derived", source = "x", date = "2020" }',
            '[{ value = 4, date = "2020" }, { value = 8, date = "2021" }]',
            "{ value = { value = 1 }, unit = 3, kind = [], source = 1.5, date = true, note = {} }",
        ]
    ),
)
keys = st.one_of(
    st.sampled_from(sorted(SPECS)), st.sampled_from(sorted(GROUPS)), st.just("inherit")
)
lines = st.tuples(keys, values).map(lambda pair: f"{pair[0]} = {pair[1]}")


def survives(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "my.toml"
        path.write_bytes(data)
        problems = check_chips([path])
        try:
            chip = load_chip(path)
        except TaktError as error:
            assert problems
            assert str(error)
        else:
            assert not problems
            assert chip.sram_bytes > 0


@given(st.binary(max_size=200))
def test_any_bytes(data: bytes) -> None:
    survives(data)


@given(st.text(max_size=200))
def test_any_text_after_a_base(text: str) -> None:
    survives(f'base = "lpu-v1"\n{text}'.encode("utf-8", "surrogatepass"))


@given(st.lists(lines, max_size=6, unique_by=lambda line: line.split(" = ")[0]))
def test_any_overrides(overrides: list[str]) -> None:
    survives("\n".join(['base = "lpu-v1"', *overrides]).encode())


@given(st.data())
def test_a_good_file_with_a_piece_changed(data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(SEED)))
    stop = data.draw(st.integers(start, min(len(SEED), start + 40)))
    piece = data.draw(st.binary(max_size=20))
    survives(SEED[:start] + piece + SEED[stop:])
