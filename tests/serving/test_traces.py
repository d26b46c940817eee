"""Recordings: read from files of many shapes, replayed, fitted, and kept as workload files."""

import gzip
import io
import json
import os
import re
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from takt import files
from takt.cli.workload import command
from takt.errors import DataError, DataErrors, TaktError, UsageError
from takt.serving.records import NOBODY
from takt.serving.workloads import (
    Arrivals,
    Lengths,
    Replay,
    Workload,
    fit_trace,
    read_trace,
    workload_of,
    workload_text,
)
from takt.serving.workloads.file import read_workload
from takt.serving.workloads.fit import ks_distance
from takt.serving.workloads.lengths import Constant, Exponential, Lognormal, Pairs, Quantiles
from takt.serving.workloads.sessions import Group, Sessions, Think, TierShare
from takt.serving.workloads.trace import Trace

DATA = Path(__file__).parent / "data"
S = 1_000_000_000
Write = Callable[[str, str], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def make(name: str, text: str) -> Path:
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return path

    return make


def rows_of(source: Replay | Workload, chunk_rows: int = 65_536) -> np.ndarray:
    return np.concatenate(list(source.requests(0, chunk_rows)))


# -- the public recordings -------------------------------------------------------------------------


def test_the_azure_excerpt_reads_as_published() -> None:
    trace = read_trace(DATA / "trace_azure2023_conv.csv")
    assert len(trace) == 80 and not trace.notes
    assert trace.arrival_ns[:3].tolist() == [0, 4_314_600_000, 4_541_900_000]
    assert trace.prompt_tokens[:3].tolist() == [374, 396, 879]
    assert trace.output_tokens[:3].tolist() == [44, 109, 55]
    assert not trace.seen_tokens.any() and (trace.session == NOBODY).all()


def test_mooncake_hashes_give_the_prefix_that_was_seen() -> None:
    trace = read_trace(DATA / "mooncake_hashes.jsonl")
    # Rows 6 and 10 begin with 12 and 5 blocks of rows 5 and 8; those with block 0 share that one.
    assert trace.seen_tokens.tolist() == [0, 512, 512, 512, 0, 12 * 512, 512, 0, 512, 5 * 512]
    assert (trace.seen_tokens <= trace.prompt_tokens).all()


def test_mooncake_hashes_agree_with_the_derived_column() -> None:
    derived = read_trace(DATA / "trace_mooncake_conversation.csv")
    hashed = read_trace(DATA / "mooncake_hashes.jsonl")
    # The two files begin with the same four requests.
    assert (derived.prompt_tokens[:4] == hashed.prompt_tokens[:4]).all()
    assert (derived.seen_tokens[:4] == hashed.seen_tokens[:4]).all()


@pytest.mark.parametrize("name", ["lengths_sharegpt_8k.csv", "lengths_arxiv_summarization.csv"])
def test_lists_of_lengths_have_no_arrivals(name: str) -> None:
    trace = read_trace(DATA / name)
    assert trace.arrival_ns is None and len(trace) == 60
    with pytest.raises(UsageError, match="no arrival times"):
        Replay(trace=trace)
    with pytest.raises(UsageError, match="how often"):
        workload_of(DATA / name)
    workload = workload_of(DATA / name, rate=4.0)
    assert isinstance(workload.lengths, Pairs) and workload.n_requests == 60


def test_the_whole_public_recordings_read(tmp_path: Path) -> None:
    folder = (
        Path(os.environ.get("TAKT_SHARED", Path(__file__).parents[3] / "shared"))
        / "data"
        / "traces"
    )
    if not folder.is_dir():
        pytest.skip(f"no public recordings in {folder} (set TAKT_SHARED)")
    azure = read_trace(folder / "trace_azure2023_conv.csv.gz")
    assert len(azure) == 19_366
    assert int(azure.prompt_tokens.sum()) / len(azure) == pytest.approx(1154.7, abs=0.1)
    mooncake = read_trace(folder / "trace_mooncake_conversation.csv.gz")
    assert len(mooncake) == 12_031 and mooncake.seen_tokens.mean() == pytest.approx(4496.6, abs=0.1)
    for name in ("lengths_sharegpt_8k", "lengths_arxiv_summarization"):
        assert len(read_trace(folder / f"{name}.csv.gz")) == 20_000
    fitted = fit_trace(azure)
    assert fitted.prompt.ks < 0.02 and fitted.output.ks < 0.02
    assert fitted.workload.means().prompt_tokens == pytest.approx(1154.7, rel=0.01)


# -- spellings, units, shapes ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.csv", "arrival_s,prompt_tokens,output_tokens\n0,100,10\n1.5,200,20\n"),
        ("b.csv", "TIMESTAMP,ContextTokens,GeneratedTokens\n"
                  "2023-11-16 18:15:46.6805900,100,10\n2023-11-16 18:15:48.1805900,200,20\n"),
        ("c.csv", "output_length,input_length,arrival_time_ms\n10,100,5000\n20,200,6500\n"),
        ("d.csv", "arrived_at,num_prefill_tokens,num_decode_tokens\n3,100,10\n4.5,200,20\n"),
        ("e.csv", "Timestamp,Model,Request tokens,Response tokens\n5,GPT-4,100,10\n6.5,ChatGPT,200,20\n"),
        ("f.csv", "\ufeffts,isl,osl\r\n1700000000000,100,10\r\n1700000001500,200,20\r\n"),
        ("g.jsonl", '{"timestamp": 1700000000.0, "prompt_tokens": 100, "completion_tokens": 10}\n\n'
                    '{"timestamp": 1700000001.5, "prompt_tokens": 200, "completion_tokens": 20}\n'),
        ("h.jsonl", '{"created_at": "2026-01-01T00:00:00Z", "input_tokens": 100, "output_tokens": 10}\n'
                    '{"created_at": "2026-01-01T01:00:01.5+01:00", "input_tokens": 200, "output_tokens": 20}\n'),
        ("i.json", '[{"time": 0, "input_len": 100, "output_len": 10},\n {"time": 1.5, "input_len": 200, "output_len": 20}]'),
        ("j.json", '{"request_rate": 1, "input_lens": [100, 200], "output_lens": [10, 20], "start_times": [7.0, 8.5]}'),
        ("k.json", json.dumps({"input_lens": [100, 200], "output_lens": [10, 20], "start_times": [7.0, 8.5]}, indent=1)),
        ("l.jsonl", '{"timestamp": 0, "input_length": 100, "output_length": 10, "hash_ids": [1]}\n'
                    '{"timestamp": 1500, "input_length": 200, "output_length": 20, "hash_ids": [2]}\n'),
        ("m.csv", "arrival_s,prompt_tokens,output_tokens\n1.5,200,20\n0,100,10\n"),
    ],
    ids=lambda value: value if len(value) < 10 else "",
)  # fmt: skip
@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
def test_usual_shapes_and_spellings_are_read(
    write: Write, name: str, text: str, packed: bool
) -> None:
    path = write(name, text)
    if packed:
        path = path.with_name(name + ".gz")
        path.write_bytes(gzip.compress(text.encode()))
    trace = read_trace(path)
    assert trace.prompt_tokens.tolist() == [100, 200] and trace.output_tokens.tolist() == [10, 20]
    # Seconds since 1970 as a float keep a few hundred nanoseconds.
    assert trace.arrival_ns.tolist() == pytest.approx([0, 1.5 * S], abs=500)
    assert bool(trace.notes) == (name == "m.csv")


def test_a_user_names_columns_and_units(write: Write) -> None:
    path = write("x.csv", "when,in,out\n10,100,10\n25,200,20\n")
    with pytest.raises(DataError, match="no column with the tokens of prompts and outputs"):
        read_trace(path)
    names = {"arrival": "when", "prompt": "in", "output": "out"}
    assert read_trace(path, names, "ms").arrival_ns.tolist() == [0, 15_000_000]
    with pytest.raises(UsageError) as caught:
        read_trace(path, {"promt": "in"})
    assert caught.value.hint == "did you mean 'prompt'?"
    with pytest.raises(UsageError) as caught:
        read_trace(path, {"arrival": "whem"})
    assert caught.value.hint == "did you mean 'when'?"


def test_a_nearly_right_column_is_hinted_at(write: Write) -> None:
    path = write("x.csv", "arrival_s,prompt_tokns,output_tokens\n0,1,1\n")
    with pytest.raises(DataError) as caught:
        read_trace(path)
    assert caught.value.hint is not None and "prompt=prompt_tokns" in caught.value.hint


def test_every_bad_row_is_said_with_its_line(write: Write) -> None:
    bad = [
        "x,1,1",
        "0,-1,1",
        "0,1,1.5",
        "0,1",
        "0,1,1,1",
        "inf,1,1",
        "0,9999999999,1",
        "2020-01-01,1,1",
    ]
    path = write(
        "x.csv", "arrival_s,prompt_tokens,output_tokens\n0,5,5\n" + "\n".join(bad * 2) + "\n"
    )
    with pytest.raises(DataErrors) as caught:
        read_trace(path)
    assert len(caught.value.problems) == 10
    assert caught.value.hint == "6 more rows are wrong"
    assert caught.value.problems[0].key == "line 3, arrival_s"
    assert caught.value.problems[1].key == "line 4, prompt_tokens"
    assert "whole tokens" in caught.value.problems[1].expected


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("x.csv", "", "empty"),
        ("x.csv", "prompt_tokens,output_tokens\n", "no requests"),
        ("x.csv", "prompt_tokens,output_tokens\n0,0\n", "no requests"),
        ("x.csv", "prompt_tokens,prompt_tokens,output_tokens\n1,1,1\n", "two columns"),
        ("x.json", "[1, 2]", "no list of requests"),
        ("x.json", '{"a": 1', "not JSON"),
        ("x.json", '{"input_lens": [1], "output_lens": [1, 2]}', "equal length"),
        ("x.csv", 'prompt_tokens,output_tokens\n"1', "line 2"),
        ("x.csv", "prompt_tokens\0", "zero byte"),
    ],
)
def test_a_file_that_is_no_recording_is_refused(
    write: Write, name: str, text: str, said: str
) -> None:
    with pytest.raises(DataError) as caught:
        read_trace(write(name, text))
    assert said in str(caught.value)


def test_a_damaged_gzip_and_a_missing_file_are_named(tmp_path: Path) -> None:
    path = tmp_path / "x.csv.gz"
    path.write_bytes(gzip.compress(b"prompt_tokens,output_tokens\n" + b"1,1\n" * 5000)[:60])
    with pytest.raises(DataError, match="damaged or cut off"):
        read_trace(path)
    with pytest.raises(UsageError, match="can't read"):
        read_trace(tmp_path / "absent.csv")
    with pytest.raises(UsageError, match="can't read"):
        read_trace(tmp_path)


def test_rows_without_tokens_are_left_out_and_counted(write: Write) -> None:
    trace = read_trace(write("x.csv", "prompt_tokens,output_tokens\n10,5\n10,0\n0,0\n"))
    assert len(trace) == 1 and trace.notes == ("2 of 3 rows without tokens left out",)


def test_a_file_of_failed_requests_alone_says_that_they_failed(write: Write) -> None:
    with pytest.raises(DataError) as caught:
        read_trace(write("x.csv", "prompt_tokens,output_tokens\n10,0\n12,0\n"))
    assert caught.value.found == "2 rows, none with both"
    assert "requests that failed" in (caught.value.hint or "")


def test_what_is_left_out_is_said_whatever_a_recording_becomes(write: Write) -> None:
    header = "arrival_s,prompt_tokens,output_tokens\n"
    path = write("x.csv", header + "2,10,5\n1,10,0\n0,10,5\n3,10,5\n")
    left_out = ["1 of 4 rows without tokens left out", "arrivals were not in order: sorted"]
    for words in ({}, {"tiers": "a:0.5,b:0.5"}, {"rate": 4.0}, {"concurrency": 2}):
        notes: list[str] = []
        workload_of(path, **words, note=notes.append)  # type: ignore[arg-type]
        assert notes == left_out


def test_requests_that_a_recording_does_not_have_are_said(write: Write) -> None:
    path = write("x.csv", "arrival_s,prompt_tokens,output_tokens\n0,10,5\n1,10,5\n")
    said = ["the recording has 2 requests: those come, not the 9 asked for"]
    for words in ({}, {"prompt": "7", "output": "3"}):
        notes: list[str] = []
        source = workload_of(path, requests=9, **words, note=notes.append)  # type: ignore[arg-type]
        assert notes == said and source.n_requests == len(rows_of(source)) == 2
    for words in ({"loop": True}, {"concurrency": 3}, {"arrivals": "poisson", "rate": 3.0}):
        notes = []
        source = workload_of(path, requests=9, **words, note=notes.append)  # type: ignore[arg-type]
        assert notes == [] and len(rows_of(source)) == 9


@pytest.mark.parametrize("said", ["prompt", "output"])
def test_one_length_beside_those_of_a_recording_is_refused(write: Write, said: str) -> None:
    path = write("x.csv", "arrival_s,prompt_tokens,output_tokens\n0,10,5\n1,10,5\n")
    message = f"--{said} alone does not go with the recording x.csv, which brings its own lengths"
    with pytest.raises(UsageError, match=message):
        workload_of(path, **{said: "100"})  # type: ignore[arg-type]
    fitted = write("w.json", workload_text(workload_of(path, tiers="a:1")))  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=f"--{said} alone does not go with the workload x"):
        workload_of(fitted, **{said: "100"})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "ends", ["\n", "\r\n", "\r", "\r\r"], ids=["LF", "CR LF", "CR", "CR twice"]
)
@pytest.mark.parametrize("last", [True, False])
def test_lines_end_as_any_system_ends_them(tmp_path: Path, ends: str, last: bool) -> None:
    lines = ["arrival_s,prompt_tokens,output_tokens", "0,10,5", '2,"20",6', "x,1,1"]
    path = tmp_path / "x.csv"
    path.write_bytes((ends.join(lines[:3]) + ends * last).encode())
    assert read_trace(path).prompt_tokens.tolist() == [10, 20]
    path.write_bytes((ends.join(lines) + ends * last).encode())
    with pytest.raises(DataErrors) as caught:
        read_trace(path)
    assert caught.value.problems[0].key == f"line {7 if ends == 2 * ends[0] else 4}, arrival_s"


def test_lines_that_end_with_cr_alone_may_fill_more_than_one_line_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "_MOST_LINE_BYTES", 40)
    path = tmp_path / "x.csv"
    path.write_bytes(b"prompt_tokens,output_tokens\r" + b"123456,654321\r" * 1000)
    assert len(read_trace(path)) == 1000
    path.write_bytes(b"prompt_tokens,output_tokens\r" + b"1" * 41)
    with pytest.raises(DataError, match="line 2 is longer than 40 bytes"):
        read_trace(path)


def test_a_recording_or_a_workload_comes_from_standard_input_or_a_pipe(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    csv = "arrival_s,prompt_tokens,output_tokens\n0,10,5\n1,20,6\n"
    toml = "# a recipe\n" + (
        "takt_workload = 1\nrequests = 2\n[arrivals]\nkind = 'rate'\nrate_per_s = 1.0\n"
        "[lengths]\nkind = 'apart'\nprompt = '10'\noutput = '5'\n"
    )
    recipe = workload_text(workload_of(prompt="10", output="5", rate=1.0, requests=2))  # type: ignore[arg-type]

    def piped(content: bytes) -> list[int]:
        fifo = tmp_path / "pipe.csv"
        if not fifo.exists():
            os.mkfifo(fifo)
        writer = threading.Thread(target=fifo.write_bytes, args=(content,))
        writer.start()
        found = rows_of(workload_of(fifo))
        writer.join()
        return found["prompt_tokens"].tolist()

    for content in (csv.encode(), gzip.compress(csv.encode())):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
        assert read_trace("-").prompt_tokens.tolist() == [10, 20]
        assert piped(content) == [10, 20]
    for text in (toml, recipe):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))
        source = workload_of("-")
        assert isinstance(source, Workload) and source.n_requests == 2
        assert piped(text.encode()) == [10, 10]


def test_standard_input_is_bounded_and_its_mistakes_carry_its_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(files, "_MOST_HELD_BYTES", 100)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"1" * 101)))
    with pytest.raises(DataError, match="standard input: more than 100 bytes"):
        read_trace("-")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"a,b\n1,2\n")))
    with pytest.raises(DataError, match="standard input: no column"):
        read_trace("-")
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(UsageError, match="no standard input"):
        read_trace("-")
    with pytest.raises(UsageError, match="can't read -"):
        read_trace(Path("-absent"))


# -- files that are written ------------------------------------------------------------------------


def test_a_link_stays_and_the_file_it_points_to_is_written(tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    target, link, further = tmp_path / "kept" / "w.json", tmp_path / "l.json", tmp_path / "m.json"
    link.symlink_to("kept/w.json")
    further.symlink_to(link)
    for path, content in ((link, b"first"), (further, b"second")):  # no target yet, then one
        files.write_whole(path, content)
        assert link.is_symlink() and further.is_symlink() and target.read_bytes() == content
    assert sorted(path.name for path in tmp_path.rglob("*")) == [
        "kept",
        "l.json",
        "m.json",
        "w.json",
    ]


def test_links_in_a_circle_or_into_nowhere_are_told(tmp_path: Path) -> None:
    one, other, lost = (tmp_path / name for name in ("1", "2", "3"))
    one.symlink_to(other)
    other.symlink_to(one)
    lost.symlink_to(tmp_path / "no" / "such")
    for path in (one, lost):
        with pytest.raises(DataError, match="cannot be written"):
            files.write_whole(path, b"x")
        assert path.is_symlink()


def test_a_pipe_is_written_to_not_replaced(tmp_path: Path) -> None:
    fifo = tmp_path / "pipe"
    os.mkfifo(fifo)
    found: list[bytes] = []
    reader = threading.Thread(target=lambda: found.append(fifo.read_bytes()))
    reader.start()
    files.write_whole(fifo, b"content")
    reader.join()
    assert found == [b"content"] and fifo.is_fifo()


CELL = st.one_of(
    st.integers(-5, 10**12).map(str),
    st.floats().map(str),
    st.sampled_from(
        [
            "",
            "nan",
            "2023-01-01 00:00:00",
            "2023-01-01",
            "[1, 2]",
            '"',
            "1e400",
            "x",
            "0001-01-01T00:00+23:59",
        ]
    ),
    st.text(max_size=5),
)
HEADERS = st.lists(
    st.sampled_from(
        ["arrival_s", "timestamp", "prompt_tokens", "isl", "output_tokens", "osl", "session_id", "tier", "hash_ids",
         "cached_tokens", "e2e_ms", "x", ""]
    ),
    min_size=1, max_size=8,
)  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(
    st.one_of(
        st.binary(max_size=200),
        st.tuples(HEADERS, st.lists(st.lists(CELL, max_size=8), max_size=6)).map(
            lambda table: "\n".join(",".join(row) for row in [table[0], *table[1]]).encode("utf-8", "replace")
        ),
        st.lists(
            st.dictionaries(
                st.sampled_from(["timestamp", "input_length", "output_length", "hash_ids", "session", "tier", "x", ""]),
                st.recursive(
                    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=4),
                    lambda inner: st.lists(inner, max_size=3),
                    max_leaves=4,
                ),
                max_size=6,
            ),
            max_size=4,
        ).map(lambda rows: "\n".join(json.dumps(row) for row in rows).encode()),
    )
)  # fmt: skip
def test_any_bytes_are_a_recording_or_a_clear_error(
    tmp_path_factory: pytest.TempPathFactory, data: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "fuzz.csv"
    path.write_bytes(data)
    try:
        trace = read_trace(path)
    except (DataError, UsageError):
        return
    rows = trace.rows()
    assert len(rows) == len(trace) >= 1
    assert rows["prompt_tokens"].min() >= 1 and rows["output_tokens"].min() >= 1
    assert (rows["seen_tokens"] <= rows["prompt_tokens"]).all()
    assert (np.diff(rows["arrival_ns"][rows["turn"] == 0]) >= 0).all()


# -- replays ---------------------------------------------------------------------------------------


def trace_of(
    arrivals_s: list[float],
    prompt: list[int],
    session: list[int],
    wait_s: list[float] | None = None,
) -> Trace:
    n = len(prompt)
    return Trace(
        name="made",
        arrival_ns=np.rint(np.array(arrivals_s) * S).astype(np.int64),
        prompt_tokens=np.array(prompt),
        output_tokens=np.full(n, 10),
        seen_tokens=np.zeros(n, dtype=np.int64),
        session=np.array(session),
        tier=np.zeros(n, dtype=np.int64),
        wait_ns=None if wait_s is None else np.rint(np.array(wait_s) * S).astype(np.int64),
    )  # fmt: skip


def test_a_replay_keeps_times_lengths_and_order_at_any_chunk_size() -> None:
    trace = read_trace(DATA / "trace_azure2023_conv.csv")
    rows = rows_of(Replay(trace=trace))
    assert (rows["arrival_ns"] == trace.arrival_ns).all()
    assert (rows["prompt_tokens"] == trace.prompt_tokens).all()
    long = Replay(trace=trace, requests_limit=3000, loop=True)
    chunks = list(long.requests(0, 1024))
    assert [len(chunk) for chunk in chunks][-1] <= 80 and sum(map(len, chunks)) == 3000
    assert (np.diff(np.concatenate(chunks)["arrival_ns"]) >= 0).all()
    assert np.concatenate(chunks).tobytes() == rows_of(long).tobytes()


def test_a_replay_at_a_rate_has_that_rate() -> None:
    trace = read_trace(DATA / "trace_azure2023_conv.csv")
    replay = Replay(trace=trace).at_rate(50)
    assert replay.requests_per_s == pytest.approx(50)
    span_s = rows_of(replay)["arrival_ns"].max() / S
    assert 79 / span_s == pytest.approx(50, rel=0.02)
    assert isinstance(workload_of(DATA / "trace_azure2023_conv.csv", rate=50.0), Replay)


def test_sessions_wait_for_answers_where_the_recording_tells_how_long() -> None:
    trace = trace_of([0, 1, 5, 9], [10, 20, 40, 70], [0, 1, 0, 0], [-1, -1, 2, 3])
    rows = rows_of(Replay(trace=trace, speed=2.0))
    assert rows["session"].tolist() == [0, 0, 0, 1]
    assert rows["turn"].tolist() == [0, 1, 2, 0]
    # Users think as long as they did, however fast they come.
    assert (rows["arrival_ns"] / S).tolist() == [0, 2, 3, 0.5]


def test_sessions_come_at_their_times_otherwise_and_break_where_a_prompt_shrinks() -> None:
    trace = trace_of([0, 1, 5, 9, 10], [10, 20, 40, 30, 60], [0, NOBODY, 0, 0, 0])
    rows = rows_of(Replay(trace=trace))
    assert not rows["turn"].any() and (rows["arrival_ns"] / S).tolist() == [0, 1, 5, 9, 10]
    session = rows["session"].tolist()
    assert session[1] == NOBODY
    assert session[0] == session[2] != session[3] == session[4]


def test_waits_come_from_the_ends_of_answers(write: Write) -> None:
    text = "arrival_s,prompt_tokens,output_tokens,session_id,e2e_s\n0,10,5,a,2\n1,9,5,b,1\n5,30,5,a,1\n5.5,60,5,a,1\n"
    trace = read_trace(write("x.csv", text))
    assert trace.wait_ns is not None and trace.wait_ns.tolist() == [-1, -1, 3 * S, 0]
    assert rows_of(Replay(trace=trace))["turn"].tolist() == [0, 1, 2, 0]


def test_tiers_are_ranked_by_their_numbers_or_as_they_came(write: Write) -> None:
    trace = read_trace(write("x.csv", "isl,osl,priority\n1,1,10\n1,1,2\n1,1,10\n"))
    assert trace.tier_names == ("2", "10") and trace.tier.tolist() == [1, 0, 1]
    named = read_trace(write("y.csv", "isl,osl,tier\n1,1,paid\n1,1,free\n"))
    assert [tier.name for tier in named.tiers] == ["paid", "free"]
    assert rows_of(workload_of(DATA / "trace_azure2023_conv.csv", requests=7)).shape == (7,)


# -- fits ------------------------------------------------------------------------------------------


def recorded(workload: Workload) -> Trace:
    """What a log of a workload would say, with answers that take no time."""
    rows = rows_of(workload)
    first = rows["turn"] == 0
    start = np.maximum.accumulate(np.where(first, np.arange(len(rows)), 0))
    waited = np.cumsum(np.where(first, 0, rows["arrival_ns"]))
    arrival = rows["arrival_ns"][start] + waited - waited[start]
    order = np.argsort(arrival, kind="stable")
    wide = {
        name: rows[name][order].astype(np.int64)
        for name in ("prompt_tokens", "output_tokens", "seen_tokens", "session", "tier")
    }
    waits = np.where(first, -1, rows["arrival_ns"])[order]
    shift = arrival.min()
    return Trace(
        name="log.csv",
        arrival_ns=arrival[order] - shift,
        tier_names=tuple(tier.name for tier in workload.tiers),
        wait_ns=waits,
        **wide,
    )  # fmt: skip


def test_a_fit_recovers_the_workload_that_made_a_log() -> None:
    made = Workload(
        arrivals=Arrivals(rate_per_s=12, cv=2),
        lengths=Lengths(prompt=Lognormal(mean=900, cv=0.7), output=Exponential(mean=200)),
        n_requests=20_000,
    )
    fitted = fit_trace(recorded(made))
    assert fitted.arrivals is not None and fitted.arrivals.ks < 0.05
    assert fitted.workload.arrivals.rate_per_s == pytest.approx(12, rel=0.08)
    assert fitted.workload.arrivals.cv == pytest.approx(2, rel=0.08)
    lengths = fitted.workload.lengths
    assert isinstance(lengths, Lengths)
    assert isinstance(lengths.prompt, Lognormal) and isinstance(lengths.output, Exponential)
    assert lengths.prompt.mean == pytest.approx(900, rel=0.03)
    assert lengths.prompt.cv == pytest.approx(0.7, rel=0.05)
    assert lengths.output.mean == pytest.approx(200, rel=0.03)


def test_a_poisson_log_is_fitted_as_poisson_and_its_curve_followed() -> None:
    curve = ((0.0, 0.5), (1000.0, 1.5))
    arrivals = Arrivals(rate_per_s=10, curve=curve, period_s=2000)
    made = Workload(
        arrivals=arrivals,
        lengths=Lengths(prompt=Constant(tokens=5), output=Constant(tokens=6)),
        duration_s=2000,
    )
    log = recorded(made)
    assert fit_trace(log).arrivals.chosen.cv > 1.05  # a changing rate looks bursty
    chosen = fit_trace(log, curve_s=1000).arrivals.chosen
    assert chosen.cv == 1
    assert [factor for _, factor in chosen.curve] == pytest.approx([0.5, 1.5], rel=0.05)
    assert chosen.mean_rate_per_s == pytest.approx(10, rel=0.05)


def test_a_fit_finds_sessions_think_times_and_tiers() -> None:
    sessions = Sessions(turns=Exponential(mean=4), think=Think(mean_s=20), new=Constant(tokens=60))
    made = Workload(
        arrivals=Arrivals(rate_per_s=2),
        lengths=Lengths(prompt=Constant(tokens=400), output=Exponential(mean=50)),
        sessions=sessions,
        tiers=(TierShare(name="paid", share=0.75), TierShare(name="free", share=0.25, priority=1)),
        n_requests=20_000,
    )
    fitted = fit_trace(recorded(made))
    assert fitted.sessions is not None and fitted.sessions.waits_known
    found = fitted.workload.sessions
    assert found is not None
    assert fitted.sessions.mean_turns == pytest.approx(4, rel=0.06)
    assert found.think.mean_s == pytest.approx(20, rel=0.05) and found.think.cv is None
    assert found.new == Constant(tokens=60)
    assert [tier.share for tier in fitted.workload.tiers] == pytest.approx([0.75, 0.25], abs=0.03)
    again = fitted.workload.means()
    assert again.prompt_tokens == pytest.approx(made.means().prompt_tokens, rel=0.1)


def test_lengths_that_hang_together_are_drawn_in_pairs() -> None:
    prompt = np.random.Generator(np.random.PCG64(3)).integers(10, 1000, 5000)
    trace = Trace(
        name="log.csv",
        arrival_ns=np.arange(5000, dtype=np.int64) * S,
        prompt_tokens=prompt,
        output_tokens=prompt // 2,
        seen_tokens=prompt // 4,
        session=np.full(5000, NOBODY),
        tier=np.zeros(5000, dtype=np.int64),
    )
    fitted = fit_trace(trace)
    assert fitted.correlation == pytest.approx(1, abs=1e-3)
    rows = rows_of(fitted.workload)
    assert (rows["output_tokens"] == rows["prompt_tokens"] // 2).all()
    assert rows["seen_tokens"].sum() / rows["prompt_tokens"].sum() == pytest.approx(
        fitted.seen_share, rel=0.02
    )
    assert fitted.workload.arrivals == Arrivals(rate_per_s=1, cv=0)


def test_the_distance_of_samples_is_that_of_their_shares() -> None:
    assert ks_distance(np.array([1.0, 2, 3, 4]), np.array([1.0, 2, 3, 4])) == 0
    assert ks_distance(np.array([1.0, 2]), np.array([3.0, 4])) == 1
    assert ks_distance(np.array([1.0, 2, 3, 4]), np.array([3.0, 4, 5, 6])) == 0.5


# -- workload files --------------------------------------------------------------------------------

FULL = Workload(
    name="full",
    arrivals=Arrivals(rate_per_s=3.3, cv=1.7, curve=((0.0, 1.0), (60.0, 2.5)), period_s=120.0),
    lengths=Lengths(prompt=Lognormal(mean=900.5, cv=0.7, most=5000), output=Quantiles(tokens=(1.0, 5.5, 80.0))),
    sessions=Sessions(turns=Exponential(mean=3.5), think=Think(mean_s=4.5, cv=0.3), new=Constant(tokens=9)),
    groups=(Group(tokens=100, share=0.5),),
    tiers=(
        TierShare(name="a", share=0.25, lengths=Lengths(prompt=Constant(tokens=3), output=Exponential(mean=7))),
        TierShare(name="b", share=0.75, priority=4),
    ),
    n_requests=500,
    max_context=9000,
)  # fmt: skip


def test_a_workload_file_reads_back_as_the_same(write: Write) -> None:
    for workload in (
        FULL,
        workload_of(prompt="5", output="6", requests=9, concurrency=3),
        workload_of(DATA / "trace_mooncake_conversation.csv", rate=3.0, arrivals="poisson"),
        workload_of(DATA / "trace_azure2023_conv.csv", prompt="5", output="6"),
    ):
        path = write("w.json", workload_text(workload))
        again = read_workload(path)
        assert workload_text(again) == workload_text(workload)
        assert rows_of(again).tobytes() == rows_of(workload).tobytes()
    assert read_workload(write("full.json", workload_text(FULL))) == FULL


TOML = """
takt_workload = 1
requests = 100
[arrivals]
kind = "rate"
rate_per_s = 20.0
[lengths]
kind = "apart"
prompt = "lognormal:1137,0.8"
output = { quantiles = [1, 10, 100] }
"""


def test_a_workload_file_may_be_toml_and_be_changed_by_words(write: Write) -> None:
    path = write("chat.toml", TOML)
    workload = workload_of(path)
    assert workload.name == "chat" and workload.arrivals == Arrivals(rate_per_s=20)
    changed = workload_of(path, rate=7.0, requests=5, output="9")
    assert isinstance(changed, Workload)
    assert (changed.requests_per_s, changed.n_requests) == (7, 5)
    assert changed.lengths == Lengths(
        prompt=Lognormal(mean=1137, cv=0.8), output=Constant(tokens=9)
    )
    with pytest.raises(UsageError, match="--turns and a workload file"):
        workload_of(path, turns="3")


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("takt_workload = 1", "takt_workload = 2", "unknown version"),
        ("requests = 100", "requsts = 100", "requsts"),
        ('kind = "rate"', 'kind = "poisson"', "poisson"),
        ("rate_per_s = 20.0", 'rate_per_s = "x"', "rate_per_s"),
        ("rate_per_s = 20.0", "rate_per_s = nan", "a rate"),
        ("lognormal:1137,0.8", "lognorml:1", "no length of the kind"),
        ("requests = 100", "", "has an end"),
        ("requests = 100", "requests = [", "line 4"),
        ("[1, 10, 100]", "[10, 1]", "must not fall"),
    ],
)
def test_a_wrong_workload_file_is_refused_by_name(
    write: Write, old: str, new: str, said: str
) -> None:
    path = write("chat.toml", TOML.replace(old, new))
    with pytest.raises(DataError) as caught:
        read_workload(path)
    assert said in str(caught.value) and caught.value.file == str(path)


@settings(max_examples=100, deadline=None)
@given(st.text(alphabet=TOML, max_size=120) | st.binary(max_size=60), st.integers(0, len(TOML)))
def test_any_workload_file_is_one_or_a_clear_error(
    tmp_path_factory: pytest.TempPathFactory, junk: str | bytes, at: int
) -> None:
    path = tmp_path_factory.getbasetemp() / "fuzz.toml"
    raw = junk.encode() if isinstance(junk, str) else junk
    path.write_bytes(TOML.encode()[:at] + raw + TOML.encode()[at:])
    try:
        read_workload(path)
    except TaktError:
        return


# -- the verb --------------------------------------------------------------------------------------


@pytest.fixture
def verb(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    import typer

    def run(*arguments: object) -> str:
        main = typer.main.get_command(command)
        main.main(
            args=[str(each) for each in arguments], prog_name="takt workload", standalone_mode=False
        )
        captured = capsys.readouterr()
        assert captured.err == ""
        return captured.out

    return run


def test_show_prints_figures_and_histograms(verb: Callable[..., str]) -> None:
    text = verb("show", DATA / "trace_mooncake_conversation.csv")
    assert "requests" in text and "80" in text and "PROMPT TOKENS" in text and "cached" in text
    document = json.loads(verb("show", DATA / "trace_azure2023_conv.csv", "--json"))
    assert document["requests"] == 80
    assert (
        document["prompt_tokens"]["most"]
        == read_trace(DATA / "trace_azure2023_conv.csv").prompt_tokens.max()
    )
    assert sum(count for _, _, count in document["prompt_histogram"]) == 80


def test_show_takes_lists_of_lengths(verb: Callable[..., str]) -> None:
    assert "all at once" in verb("show", DATA / "lengths_sharegpt_8k.csv")


def test_show_says_what_was_left_out(verb: Callable[..., str], write: Write) -> None:
    rows = "arrival_s,prompt_tokens,output_tokens\n0,10,5\n1,10,0\n2,10,5\n"
    path = write("x.csv", rows)
    said = ["1 of 3 rows without tokens left out"]
    assert json.loads(verb("show", path, "--json"))["notes"] == said
    assert f"note          {said[0]}\n" in verb("show", path)
    assert "note" not in verb("show", DATA / "trace_azure2023_conv.csv")


def test_two_requests_have_a_rate_and_one_has_none(verb: Callable[..., str], write: Write) -> None:
    header = "arrival_s,prompt_tokens,output_tokens\n"
    path = write("x.csv", header + "0,10,5\n4,10,5\n")
    shown = json.loads(verb("show", path, "--json"))
    assert (shown["rate_per_s"], shown["span_s"], shown["gap_cv"]) == (0.25, 4.0, None)
    assert "arrivals      0.25/s over 4 s" in verb("show", path)
    shown = json.loads(verb("show", write("y.csv", header + "3,10,5\n"), "--json"))
    assert (shown["rate_per_s"], shown["span_s"], shown["gap_cv"]) == (None, 0.0, None)


def test_fit_writes_a_workload_that_show_reads(verb: Callable[..., str], tmp_path: Path) -> None:
    out = tmp_path / "w.json"
    document = json.loads(verb("fit", DATA / "trace_azure2023_conv.csv", "--out", out, "--json"))
    assert document["requests"] == 80 and document["out"] == str(out)
    shown = json.loads(verb("show", out, "--requests", 50, "--json"))
    assert shown["requests"] == 50
    with pytest.raises(UsageError, match="exists"):
        verb("fit", DATA / "trace_azure2023_conv.csv", "--out", out)
    assert "written to" in verb("fit", DATA / "trace_azure2023_conv.csv", "--out", out, "--force")
    assert [path.name for path in tmp_path.iterdir()] == ["w.json"]
    with pytest.raises(UsageError, match="no arrival times"):
        verb("fit", DATA / "lengths_sharegpt_8k.csv")


# -- what the document says ------------------------------------------------------------------------


def test_the_document_shows_a_workload_file_that_reads(repository: Path, write: Write) -> None:
    text = (repository / "docs" / "workloads.md").read_text(encoding="utf-8")
    block = re.search(r"```toml\n(.*?)```", text, re.DOTALL)
    assert block
    workload = read_workload(write("doc.toml", block[1]))
    assert workload.sessions and workload.groups and len(workload.tiers) == 2
    assert len(rows_of(workload.limited(2000))) == 2000


def test_the_document_lists_the_keys_that_json_has(
    repository: Path, verb: Callable[..., str]
) -> None:
    text = (repository / "docs" / "workloads.md").read_text(encoding="utf-8")
    shown, fitted = text.partition("## JSON")[2].split("`takt workload fit --json`:")
    for words, section in (("show", shown), ("fit", fitted)):
        cells = re.findall(r"^\| (`[^|]*) \|", section, re.MULTILINE)
        listed = {key for cell in cells for key in re.findall(r"`(\w+)`", cell)}
        document = json.loads(verb(words, DATA / "trace_azure2023_conv.csv", "--json"))
        assert set(document) == listed
