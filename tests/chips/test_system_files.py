"""A user's system files: overrides, and every mistake reported at once and kindly."""

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from takt.chips import Chip, System, load_chip, load_system
from takt.chips.lookup import check_chips, load_any
from takt.chips.system_schema import GROUPS, SPECS
from takt.errors import DataErrors, Problem, TaktError

Write = Callable[[str], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def to(text: str, name: str = "my.toml") -> Path:
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return path

    return to


def only_problem(path: Path) -> Problem:
    with pytest.raises(DataErrors) as caught:
        load_system(path)
    (problem,) = caught.value.problems
    assert check_chips([path]) == (problem,)
    return problem


def test_a_file_states_what_differs(write: Write) -> None:
    path = write('base = "groqrack-v1"\n[hall]\nextra_ns = 500')
    system = load_system(path)
    shipped = load_system("groqrack-v1")
    assert (system.id, system.max_chips) == ("my", shipped.max_chips)
    assert system.fact("hall.extra_ns").source == str(path)
    slower = system.reach(system.network(576))[-1].latency_ns
    assert slower - shipped.reach(shipped.network(576))[-1].latency_ns == pytest.approx(340, abs=2)


def test_a_system_may_be_of_a_chip_of_your_own(tmp_path: Path) -> None:
    (tmp_path / "big.toml").write_text('base = "lpu-v1"\n[mem]\nwords_per_slice = 16384')
    (tmp_path / "node.toml").write_text('base = "groqnode-v1"\nchip = "big.toml"')
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "again.toml").write_text('base = "../node.toml"')
    # The path counts from the file that states it.
    for path in (tmp_path / "node.toml", tmp_path / "more" / "again.toml"):
        system = load_system(path)
        assert system.chip.id == "big"
        assert system.sram_bytes == 2 * load_system("groqnode-v1").sram_bytes


@pytest.mark.parametrize(
    ("text", "key", "expected", "found"),
    [
        ("[node]\nchips = 16", "ports.local_links", "at least 15 = the links inside a node", "7"),
        ("[node]\nlinks_per_pair = 0", "node.links_per_pair",
         "at least 1, for chips that make a node", "0"),
        ("[hall]\nlinks_per_chip = 4", "ports.global_links",
         "at least 6 = the links_per_chip of all tiers", "4"),
        ("[hall]\nunits = 400\nneighbours = 399", "hall.links_per_chip",
         "an even number from 6 on, to reach 399 neighbours", "2"),
        ("[rack]\nlinks_per_chip = 1", "rack.links_per_chip",
         "an even number from 2 on, to reach 8 neighbours", "1"),
        ("[hall]\nneighbours = 3", "hall.neighbours",
         "144, that is all others, or an even number below it", "3"),
        ("[rack]\nspare_units = 9", "rack.spare_units", "fewer than rack.units = 9", "9"),
        ("[ports]\nglobal_links = 10", "ports",
         "at most c2c.links = 16 of chip lpu-v1, local and global", "7 + 10"),
        ("[hall]\nunits = 4000\nneighbours = 2", "hall.units", "at most 100,000 chips in all",
         "288,000 chips"),
        ("[node]\nchip = 8", "node.chip", "a fact of [node]", "an unknown one"),
    ],
)  # fmt: skip
def test_each_mistake_says_where_and_what(
    write: Write, text: str, key: str, expected: str, found: str
) -> None:
    problem = only_problem(write(f'base = "groqrack-v1"\n{text}'))
    assert (problem.key, problem.expected, problem.found) == (key, expected, found)


def test_a_chip_that_does_not_exist_gets_a_near_miss(write: Write) -> None:
    problem = only_problem(write('base = "groqnode-v1"\nchip = "lpu-v2"'))
    assert (problem.key, problem.found) == ("chip", "'lpu-v2'")
    assert "did you mean 'lpu-v1'?" in (problem.hint or "")


def test_problems_of_the_chip_are_those_of_its_file(tmp_path: Path) -> None:
    (tmp_path / "bad.toml").write_text('base = "lpu-v1"\n[vxm]\nalus = 0')
    (tmp_path / "node.toml").write_text('base = "groqnode-v1"\nchip = "bad.toml"')
    problem = only_problem(tmp_path / "node.toml")
    assert (Path(problem.file).name, problem.key) == ("bad.toml", "vxm.alus")


def test_all_problems_of_chips_and_systems_come_in_one_run(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text('base = "lpu-v1"\n[vxm]\nalus = 0')
    (tmp_path / "b.toml").write_text('base = "lpx-rack"\n[rack]\nunit = 3\n[hal]\nx = 1')
    problems = check_chips([tmp_path / "a.toml", tmp_path / "b.toml"])
    assert [(Path(p.file).name, p.key) for p in problems] == [
        ("a.toml", "vxm.alus"),
        ("b.toml", "rack.unit"),
        ("b.toml", "hal"),
    ]
    assert problems[2].hint == "did you mean 'hall'?"


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ('base = "lpu-v1"', Chip),
        ('base = "single"', System),
        ('base = "single"\nchip = "lp30"', System),
        ('base = "other.toml"', System),
    ],
)
def test_a_file_tells_whether_it_is_a_chip_or_a_system(
    tmp_path: Path, write: Write, text: str, kind: type
) -> None:
    (tmp_path / "other.toml").write_text('base = "groqnode-v1"')
    assert isinstance(load_any(write(text)), kind)


def test_names_lead_to_chips_and_systems() -> None:
    assert load_any("lpu-v1") == load_chip("lpu-v1")
    assert load_any("lpx-rack") == load_system("lpx-rack")


def test_a_file_without_base_must_name_its_chip(write: Write) -> None:
    with pytest.raises(DataErrors) as caught:
        load_system(write('id = "x"\nname = "X"\n[node]\nchips = 4'))
    assert {"chip", "node.chips", "rack.units"} <= {
        problem.key for problem in caught.value.problems
    }


keys = st.sampled_from(
    sorted(["chip", "base", "inherit", *GROUPS, *(key for key in SPECS if "published" not in key)])
)
values = st.one_of(
    st.integers(-1, 300).map(str),
    st.sampled_from(["1e9", "nan", '""', '"lp30"', '"x.toml"', "{}", "{ unknown = true }", "[]"]),
)


@given(
    st.lists(st.tuples(keys, values), max_size=5, unique_by=lambda pair: pair[0]),
    st.integers(1, 300),
)
@settings(deadline=None)
def test_any_overrides_give_a_system_or_a_problem(
    tmp_path_factory: pytest.TempPathFactory, lines: list[tuple[str, str]], n_chips: int
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.toml"
    text = "\n".join(f"{key} = {value}" for key, value in lines)
    path.write_text(text if "base" in dict(lines) else f'base = "groqrack-v1"\n{text}')
    problems = check_chips([path])
    try:
        system = load_any(path)
    except TaktError as error:
        assert str(error)
    else:
        assert not problems
        if isinstance(system, System):
            network = system.network(min(n_chips, system.max_chips))
            assert min(network.distances(0)) >= 0
