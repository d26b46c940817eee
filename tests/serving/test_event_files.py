"""Event logs written and read back, whole or not at all."""

import gzip
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from takt.errors import DataError, UsageError
from takt.serving.event_files import EVENT_ENDINGS, EventFile, read_events
from takt.serving.event_names import EVENT_KEYS, FIELDS
from takt.serving.records import EVENT, FINISHED, EventKind, Fate

NUMBERS = st.integers(0, (1 << 62) - 1)


def event(
    kind: EventKind, time_ns: int, request: int, replica: int, *fields: int
) -> NDArray[np.void]:
    padded = (*fields, 0, 0, 0, 0)[:4]
    return np.array([(time_ns, request, kind, replica, *padded)], EVENT)


STORY = np.concatenate(
    [
        event(EventKind.UP, 0, -1, 0),
        event(EventKind.ARRIVE, 7, 0, -1, 1137),
        event(EventKind.ROUTE, 7, 0, 0, 3),
        event(EventKind.ADMIT, 9, 0, 0, 16, 1121),
        event(EventKind.STEP, 9, -1, 0, 20_000_000, 4, 1121, 300),
        event(EventKind.SEND, 12, 0, 0, 1, 99),
        event(EventKind.REJECT, 13, 1, 0, Fate.TOO_LONG),
        event(EventKind.SAMPLE, 14, -1, 0, 4, 2, 300, 1),
    ]
)  # fmt: skip


@st.composite
def events(draw: st.DrawFn) -> NDArray[np.void]:
    """Events as engines write them: no fields beyond those of their kind."""
    rows = []
    for kind in draw(st.lists(st.sampled_from(EventKind), max_size=30)):
        values = [draw(NUMBERS) for _ in FIELDS[kind]]
        if kind is EventKind.REJECT:
            values = [draw(st.sampled_from(Fate))]
        who = (draw(st.integers(-1, 1 << 40)), draw(st.integers(-1, 65_535)))
        rows.append(event(kind, draw(NUMBERS), *who, *values))
    return np.concatenate(rows) if rows else np.zeros(0, EVENT)


def written(path: Path, *batches: NDArray[np.void]) -> Path:
    with EventFile(path) as file:
        for batch in batches:
            file.add(batch)
    return path


def read(path: Path) -> list[object]:
    return [row for batch in read_events(path) for row in batch.tolist()]


@pytest.mark.parametrize("ending", EVENT_ENDINGS)
@given(first=events(), second=events())
@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_what_was_written_is_read(
    ending: str, first: NDArray[np.void], second: NDArray[np.void], tmp_path: Path
) -> None:
    path = written(tmp_path / f"events{ending}", first, second)
    assert read(path) == [*first.tolist(), *second.tolist()]


def test_lines_have_names_and_only_what_the_event_has(tmp_path: Path) -> None:
    lines = written(tmp_path / "e.jsonl", STORY).read_text().splitlines()
    assert lines[0] == '{"time_ns":0,"kind":"up","replica":0}'
    assert lines[1] == '{"time_ns":7,"kind":"arrive","request":0,"prompt_tokens":1137}'
    assert json.loads(lines[4]) == {
        "time_ns": 9, "kind": "step", "replica": 0, "step_ns": 20_000_000, "users": 4,
        "read_tokens": 1121, "blocks": 300,
    }  # fmt: skip
    assert lines[6] == '{"time_ns":13,"kind":"reject","request":1,"replica":0,"fate":"too_long"}'


def test_tables_have_a_column_for_each_key(tmp_path: Path) -> None:
    head, *lines = written(tmp_path / "e.csv", STORY).read_text().splitlines()
    assert head.split(",") == list(EVENT_KEYS)
    arrive = dict(zip(EVENT_KEYS, lines[1].split(","), strict=True))
    assert {key: cell for key, cell in arrive.items() if cell} == {
        "time_ns": "7", "kind": "arrive", "request": "0", "prompt_tokens": "1137",
    }  # fmt: skip
    parquet = pytest.importorskip("pyarrow.parquet")
    table = parquet.read_table(written(tmp_path / "e.parquet", STORY))
    assert table.column_names == list(EVENT_KEYS)
    assert table["fate"].to_pylist() == [None] * 6 + ["too_long", None]
    assert table["read_tokens"].to_pylist() == [None, None, None, 1121, 1121, None, None, None]


@pytest.mark.parametrize("ending", EVENT_ENDINGS)
def test_the_same_events_are_the_same_bytes(ending: str, tmp_path: Path) -> None:
    one, other = tmp_path / f"one{ending}", tmp_path / f"other{ending}"
    written(one, STORY)
    written(other, STORY[:3], STORY[3:])
    assert one.read_bytes() == other.read_bytes()


@pytest.mark.parametrize("ending", EVENT_ENDINGS)
def test_an_interrupted_log_leaves_the_old_file_whole(ending: str, tmp_path: Path) -> None:
    path = tmp_path / f"e{ending}"
    path.write_bytes(b"old")
    with pytest.raises(KeyboardInterrupt), EventFile(path) as file:
        file.add(STORY)
        assert path.read_bytes() == b"old"
        raise KeyboardInterrupt
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("ending", EVENT_ENDINGS)
def test_a_log_without_events_is_a_file_without_events(ending: str, tmp_path: Path) -> None:
    assert read(written(tmp_path / f"e{ending}")) == []


def test_names_and_places_that_will_not_do(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        EventFile(tmp_path / "events.txt")
    assert caught.value.hint is not None and ".jsonl.gz" in caught.value.hint
    with pytest.raises(DataError, match=r"nowhere.e\.csv: cannot be written: No such file"):
        EventFile(tmp_path / "nowhere" / "e.csv")
    with EventFile(tmp_path / "e.csv") as file, pytest.raises(UsageError, match="EVENT"):
        file.add(np.zeros(1, FINISHED))


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("[]", r"line 2: no event: expected a JSON object, got \[\]"),
        ("{", "line 2: no event: expected a JSON object"),
        ('{"time_ns":1,"kind":"arive"}', "expected a kind among arrive, .*, got arive"),
        ('{"kind":"up","replica":1}', "expected a time_ns, got None"),
        ('{"time_ns":1.5,"kind":"up"}', "expected a whole number as time_ns, got 1.5"),
        ('{"time_ns":1,"kind":"up","users":3}', "expected fields of 'up', got users"),
        ('{"time_ns":1,"kind":"reject","fate":"late"}', "expected a whole number as fate, got late"),
        ('{"time_ns":99999999999999999999,"kind":"up"}', "time_ns of at most 63 bits"),
        ('{"time_ns":1,"kind":"up","replica":3000000000}', "replica of at most 31 bits"),
    ],
)  # fmt: skip
def test_a_line_that_is_no_event_is_named(text: str, complaint: str, tmp_path: Path) -> None:
    path = tmp_path / "e.jsonl"
    path.write_text('{"time_ns":0,"kind":"up","replica":0}\n' + text + "\n")
    with pytest.raises(DataError, match=complaint):
        read(path)


def test_files_that_are_something_else_are_refused(tmp_path: Path) -> None:
    wrong = tmp_path / "e.csv"
    wrong.write_text("a,b\n1,2\n")
    with pytest.raises(DataError, match="line 2: no event: expected a kind"):
        read(wrong)
    long = tmp_path / "long.csv"
    long.write_text("time_ns,kind\n1,up,3\n")
    with pytest.raises(DataError, match="got too many cells"):
        read(long)
    for name in ("e.parquet", "e.jsonl.gz"):
        (tmp_path / name).write_bytes(b"PAR1 no")
        with pytest.raises(DataError, match="cannot be read"):
            read(tmp_path / name)
    cut = tmp_path / "cut.csv.gz"
    cut.write_bytes(gzip.compress(b"time_ns,kind\n" + b"1,up\n" * 9999)[:-20])
    with pytest.raises(DataError, match="cannot be read"):
        read(cut)
