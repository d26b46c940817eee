"""Sweeps: the same bytes from every runner, nothing lost at an interrupt, no store misread."""

import importlib.util
import os
import pickle
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.serving import sweep_tasks
from tests.serving.sweep_tasks import Drawn, Step

from takt.errors import CapacityError, DataError, LawError, TaktError, UnsupportedError, UsageError
from takt.serving.sweeps import (
    FailedTasks,
    Interrupted,
    OnRay,
    Processes,
    Result,
    Runner,
    Serial,
    Store,
    Task,
    files_digest,
    runner_of,
    sweep,
    write_parquet,
)
from takt.serving.sweeps.processes import _undisturbed
from takt.serving.sweeps.store import Kept
from takt.serving.sweeps.task import content_of, digest
from takt.serving.sweeps.work import Done, Job, perform

REPOSITORY = Path(__file__).resolve().parents[2]
TWO = Processes(workers=2)


def steps(
    n: int, function: Callable[[Step], object] = sweep_tasks.draw, log: object = ""
) -> list[Task[Step]]:
    return [
        Task(function=function, arguments=Step(seed=seed, log=str(log)), name=f"seed {seed}")
        for seed in range(n)
    ]


def contents(results: Iterable[Result]) -> list[tuple[str, bytes | None]]:
    return [(result.key, result.content) for result in results]


def runs(log: Path) -> list[int]:
    return [int(line) for line in log.read_text().split()] if log.exists() else []


class Backwards:
    """Does all jobs, the last first, two at a time."""

    def run(self, jobs: Iterable[Job]) -> Generator[tuple[Done, ...], None, None]:
        waiting = list(jobs)
        while waiting:
            yield perform(tuple(waiting.pop() for _ in waiting[:2]))


# --- results ---------------------------------------------------------------------------------------------------------


def test_results_come_in_the_order_of_the_tasks() -> None:
    for runner in (Serial(), Backwards()):
        results = list(sweep(steps(7), runner=runner))
        assert [result.task.name for result in results] == [f"seed {seed}" for seed in range(7)]
        assert [result.read(Drawn).seed for result in results] == list(range(7))


def test_processes_give_the_same_bytes_whatever_their_number_and_chunks() -> None:
    expected = contents(sweep(steps(9)))
    assert contents(sweep(steps(9), runner=TWO)) == expected
    assert contents(sweep(steps(9), runner=Processes(workers=1, chunk=4))) == expected


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(seeds=st.lists(st.integers(0, 6), max_size=12), known=st.sets(st.integers(0, 6)))
def test_repeated_and_known_tasks_change_no_byte(
    seeds: list[int], known: set[int], tmp_path_factory: pytest.TempPathFactory
) -> None:
    tasks = [Task(function=sweep_tasks.draw, arguments=Step(seed=seed)) for seed in seeds]
    path = tmp_path_factory.mktemp("law") / "s.sqlite"
    with Store(path) as store:
        for _ in sweep([t for t in tasks if t.arguments.seed in known], store=store):
            pass
        again = list(sweep(tasks, runner=Backwards(), store=store))
        assert contents(again) == contents(sweep(tasks))
        assert [result.kept for result in again] == [seed in known for seed in seeds]
        assert len(store) == len(set(seeds))


def test_equal_tasks_run_once(tmp_path: Path) -> None:
    log = tmp_path / "log"
    results = list(sweep([*steps(2, log=log), *steps(2, log=log)]))
    assert runs(log) == [0, 1]
    assert contents(results[:2]) == contents(results[2:])


def test_no_tasks_give_no_results() -> None:
    told: list[tuple[int, int]] = []
    assert list(sweep([], runner=TWO, progress=lambda *at: told.append(at))) == []
    assert told == [(0, 0)]


def test_progress_starts_with_what_is_kept_and_ends_with_all(tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    with Store(tmp_path / "s") as store:
        list(sweep(steps(2), store=store))
        list(sweep(steps(5), store=store, progress=lambda *at: told.append(at)))
    assert told == [(2, 5), (3, 5), (4, 5), (5, 5)]


def test_a_result_of_another_kind_is_an_error() -> None:
    (result,) = sweep(steps(1))
    with pytest.raises(DataError, match="seed 0 is not int"):
        result.read(int)


# --- keys ------------------------------------------------------------------------------------------------------------


def key(task: Task[object]) -> str:
    return digest(content_of(task).encode())


def test_a_key_depends_on_all_that_the_result_depends_on(monkeypatch: pytest.MonkeyPatch) -> None:
    base = Task(function=sweep_tasks.draw, arguments=Step(seed=1))
    others = [
        Task(function=sweep_tasks.fail_on_three, arguments=Step(seed=1)),
        Task(function=sweep_tasks.draw, arguments=Step(seed=2)),
        Task(function=sweep_tasks.draw, arguments=Step(seed=1), data="other"),
        Task(function=sweep_tasks.draw, arguments=Drawn(seed=1, values=[])),
    ]
    keys = {key(task) for task in (base, *others)}
    assert len(keys) == 5
    assert key(Task(function=sweep_tasks.draw, arguments=Step(seed=1), name="named")) == key(base)
    monkeypatch.setattr("takt.serving.sweeps.task.__version__", "99")
    assert key(base) not in keys


def test_arrays_count_by_content() -> None:
    def of(values: object) -> str:
        return key(Task(function=sweep_tasks.total, arguments=values))

    assert of(np.arange(4.0)) == of(np.arange(8.0)[:4])
    distinct = [np.arange(4.0), np.arange(4.0).reshape(2, 2), np.arange(4), np.arange(1.0, 5.0)]
    assert len({of(values) for values in distinct}) == 4
    (result,) = sweep([Task(function=sweep_tasks.total, arguments=np.arange(4.0))])
    assert result.read(float) == 6.0


@pytest.mark.parametrize(
    "value", [float("nan"), float("inf"), object(), "\ud800", np.array([None])]
)
def test_arguments_without_json_are_refused_before_anything_runs(
    value: object, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    with pytest.raises(UsageError, match="cannot be written as JSON"):
        sweep([*steps(1, log=log), Task(function=sweep_tasks.total, arguments=value)])
    assert runs(log) == []


def test_a_task_calls_a_function_that_others_can_import() -> None:
    with pytest.raises(UsageError, match="not found by its name"):
        Task(function=lambda step: None, arguments=1)
    with pytest.raises(UsageError, match="not found by its name"):
        Task(function=[].append, arguments=1)


def test_a_digest_of_files_tells_contents_and_where_they_end(tmp_path: Path) -> None:
    a, b = tmp_path / "a", tmp_path / "b"
    a.write_text("xy")
    b.write_text("z")
    before = files_digest([a, b])
    a.write_text("x")
    b.write_text("yz")
    assert before != files_digest([a, b]) != files_digest([b, a])
    with pytest.raises(DataError, match="nowhere: cannot be read"):
        files_digest([Path("nowhere")])


# --- failures --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("runner", [Serial(), TWO], ids=["serial", "processes"])
def test_a_failed_task_loses_no_other_and_keeps_its_fields(runner: Runner, tmp_path: Path) -> None:
    got: list[Result] = []
    with Store(tmp_path / "s") as store:
        with pytest.raises(FailedTasks, match="1 of 6 tasks failed") as caught:
            got.extend(sweep(steps(6, sweep_tasks.fail_on_three), runner=runner, store=store))
            pytest.fail("a failure was swallowed")
        assert len(store) == 5  # a failure is tried again next time
        results = list(
            sweep(steps(6, sweep_tasks.fail_on_three), runner=runner, store=store, strict=False)
        )
    (failure,) = caught.value.failures
    assert failure.task.name == "seed 3"
    assert isinstance(failure.error, CapacityError)
    assert (failure.error.needed, failure.error.hint) == (4, "add chips")
    assert "seed 3: no room (needed 4 of blocks, available 2)" in str(caught.value)
    assert [result.error is None for result in results] == [seed != 3 for seed in range(6)]
    with pytest.raises(CapacityError):
        results[3].read(Drawn)
    back = pickle.loads(pickle.dumps(caught.value))
    assert str(back) == str(caught.value)


def test_an_error_that_does_not_travel_comes_as_its_text() -> None:
    results = list(sweep(steps(2, sweep_tasks.fail_oddly), runner=TWO, strict=False))
    assert [str(result.error) for result in results] == ["queue of 0", "queue of 1"]


@pytest.mark.parametrize("runner", [Serial(), TWO], ids=["serial", "processes"])
def test_a_mistake_in_the_program_stops_the_sweep_and_keeps_what_was_done(
    runner: Runner, tmp_path: Path
) -> None:
    with Store(tmp_path / "s") as store:
        with pytest.raises(ZeroDivisionError):
            list(sweep(steps(40, sweep_tasks.divide), runner=runner, store=store))
        assert len(store) >= 3


def test_a_result_without_json_is_a_failure() -> None:
    (result,) = sweep(steps(1, sweep_tasks.not_a_number), strict=False)
    assert "result of seed 0 cannot be written as JSON" in str(result.error)


def test_a_worker_that_dies_is_an_error_that_names_its_tasks() -> None:
    with pytest.raises(TaktError, match=r"ended unexpectedly; under way: .*seed 1"):
        list(sweep(steps(2, sweep_tasks.die), runner=TWO))


def test_a_worker_of_another_version_refuses() -> None:
    job = Job(key="", task=steps(1)[0], version="0.0.0")
    with pytest.raises(UnsupportedError, match=r"the sweep is of 0\.0\.0"):
        perform((job,))


# --- interrupts ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("runner", [Serial(), TWO], ids=["serial", "processes"])
def test_an_interrupted_sweep_resumes_where_it_was(runner: Runner, tmp_path: Path) -> None:
    log, path = tmp_path / "log", tmp_path / "s.sqlite"
    tasks = steps(8, sweep_tasks.interrupt_on_three, log=log)
    with Store(path) as store:
        with pytest.raises(Interrupted) as caught:
            list(sweep(tasks, runner=runner, store=store))
        kept = len(store)
    assert kept == caught.value.done >= 1
    assert f"after {kept} of 8 tasks, kept in {path}" in str(caught.value)
    (tmp_path / "log.go").touch()
    before = runs(log)
    with Store(path) as store:
        results = list(sweep(tasks, store=store))
    assert sum(result.kept for result in results) == kept
    assert len(runs(log)) - len(before) == 8 - kept
    assert contents(results) == contents(sweep(tasks))


def test_without_a_store_the_message_says_that_nothing_is_kept(tmp_path: Path) -> None:
    with pytest.raises(Interrupted, match="after 3 of 8 tasks; nothing was kept"):
        list(sweep(steps(8, sweep_tasks.interrupt_on_three, log=tmp_path / "log")))


def test_an_interrupt_before_the_first_result_names_the_store(tmp_path: Path) -> None:
    tasks = steps(4, sweep_tasks.interrupt_on_three, log=tmp_path / "log")[3:]
    with (
        Store(tmp_path / "s") as store,
        pytest.raises(Interrupted, match="after 0 of 1 tasks, kept"),
    ):
        list(sweep(tasks, store=store))


def until(holds: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < deadline, f"waited too long: {what}"
        time.sleep(0.02)


def n_kept(path: Path) -> int:
    if not path.exists():
        return 0
    with sqlite3.connect(path) as base:
        tables = base.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        rows = base.execute("SELECT count(*) FROM results").fetchone()[0] if tables else 0
    base.close()
    return int(rows)


@pytest.mark.parametrize(
    ("kind", "number"),
    [("serial", signal.SIGINT), ("processes", signal.SIGINT), ("processes", signal.SIGKILL)],
)
def test_a_signal_stops_all_workers_and_loses_no_result(
    kind: str, number: signal.Signals, tmp_path: Path
) -> None:
    path, log = tmp_path / "s.sqlite", tmp_path / "log"
    ticks = tmp_path / "log.ticks"
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(REPOSITORY / "src"), str(REPOSITORY)]),
    }
    child = subprocess.Popen(
        [sys.executable, "-m", "tests.serving.sweep_tasks", kind, str(path), str(log)],
        cwd=REPOSITORY,
        env=environment,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        start_new_session=True,
    )
    try:
        until(lambda: ticks.exists() and n_kept(path) == 4, "four results and a long task")
        # As a terminal does it: the signal goes to all. A kill goes to one alone.
        (os.killpg if number == signal.SIGINT else os.kill)(child.pid, number)
        _, said = child.communicate(timeout=20)
    finally:
        child.kill()
        child.communicate()
    if number == signal.SIGINT:
        assert child.returncode == 130
        assert said == (
            f"interrupted after 4 of 6 tasks, kept in {path}:"
            " the same sweep with this store goes on from there\n"
        )
    until(lambda: quiet(ticks), "workers that end")
    with Store(path) as store:
        results = list(sweep(steps(4, log=log), store=store))
    assert all(result.kept for result in results)
    assert sorted(runs(log)) == [0, 1, 2, 3]


def quiet(ticks: Path) -> bool:
    """Whether nothing is written for five ticks."""
    before = ticks.stat().st_size
    time.sleep(0.1)
    return ticks.stat().st_size == before


def test_a_consumer_that_stops_stops_the_workers(tmp_path: Path) -> None:
    ticks = tmp_path / "ticks"
    tasks = [*steps(1), *steps(3, sweep_tasks.tick, log=ticks)]
    results = sweep(tasks, runner=TWO)
    assert next(results).content is not None
    until(ticks.exists, "a long task")
    start = time.monotonic()
    results.close()  # type: ignore[attr-defined]
    assert time.monotonic() - start < 20  # the tasks take a minute each
    assert quiet(ticks)


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Ctrl-C is heard, whoever started the tests in the background and told them to ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_an_interrupt_waits_until_a_worker_is_started() -> None:
    reached = False
    with pytest.raises(KeyboardInterrupt), _undisturbed():
        signal.raise_signal(signal.SIGINT)
        reached = True
    assert reached
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


# --- the store -------------------------------------------------------------------------------------------------------


@pytest.fixture
def filled(tmp_path: Path) -> Path:
    """A store with the results of 40 tasks, of several pages."""
    path = tmp_path / "filled.sqlite"
    tasks = [Task(function=sweep_tasks.draw, arguments=Step(seed=s, n=40)) for s in range(40)]
    with Store(path) as store:
        for _ in sweep(tasks, store=store):
            pass
    return path


def test_two_sweeps_share_a_store_at_the_same_time(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with Store(path) as one, Store(path) as other:
        first, second = sweep(steps(6), store=one), sweep(steps(9), store=other)
        mixed: Iterator[tuple[Result, Result]] = zip(first, second, strict=False)
        assert all(a.content == b.content for a, b in mixed)
        assert len(list(second)) in (2, 3)
        assert len(one) == 9


def test_a_waiting_writer_gets_its_turn(tmp_path: Path) -> None:
    """Several processes add to one new file, each its own tasks and some of the others'."""
    path = tmp_path / "s"
    script = (
        "import sys; from pathlib import Path; from takt.serving.sweeps import Store, Task, sweep;"
        "from tests.serving.sweep_tasks import Step, draw;"
        "at = int(sys.argv[2]); store = Store(Path(sys.argv[1]));"
        "tasks = [Task(function=draw, arguments=Step(seed=s)) for s in range(at, at + 30)];"
        "print(len(list(sweep(tasks, store=store)))); store.close()"
    )
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(REPOSITORY / "src"), str(REPOSITORY)]),
    }
    children = [
        subprocess.Popen(
            [sys.executable, "-c", script, str(path), str(at)],
            env=environment,
            stdout=subprocess.PIPE,
        )
        for at in (0, 10)
    ]
    assert [child.communicate(timeout=30)[0] for child in children] == [b"30\n", b"30\n"]
    with Store(path) as store:
        assert len(store) == 40


def test_another_result_of_the_same_task_breaks_a_law(tmp_path: Path) -> None:
    task = steps(1, sweep_tasks.clock)[0]
    with Store(tmp_path / "s") as store:
        (result,) = sweep([task], store=store)
        row = Kept(key=result.key, task=content_of(task), content=b"1", seconds=0.0)
        with pytest.raises(LawError, match=r"law 17: .*another result"):
            store.keep([row])
        assert store.read(result.key).content == result.content


def test_rows_are_kept_all_or_none(tmp_path: Path) -> None:
    rows = [
        Kept(key=digest(text.encode()), task=text, content=content, seconds=0.0)
        for text, content in (("a", b"1"), ("b", b"2"), ("a", b"3"))
    ]
    with Store(tmp_path / "s") as store:
        with pytest.raises(LawError):
            store.keep(rows)
        assert len(store) == 0
        store.keep(rows[:2])
        assert [row.content for row in store.rows()] == [
            row.content for row in sorted(rows[:2], key=lambda row: row.key)
        ]


def refused(path: Path, message: str) -> None:
    """The file is refused, and left as it was."""
    before = path.read_bytes()
    with pytest.raises(DataError, match=message) as caught:
        Store(path)
    assert caught.value.file == str(path)
    assert caught.value.hint is not None
    assert path.read_bytes() == before
    assert sorted(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("share", [0.3, 0.6, 0.95])
def test_a_truncated_store_is_refused_and_not_changed(filled: Path, share: float) -> None:
    whole = filled.read_bytes()
    filled.write_bytes(whole[: int(len(whole) * share)])
    refused(filled, "damaged")


def test_a_store_with_its_header_alone_is_refused(filled: Path) -> None:
    filled.write_bytes(filled.read_bytes()[:60])
    refused(filled, "a file of another kind")


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(where=st.floats(0, 1, exclude_max=True), flip=st.integers(1, 255))
def test_a_changed_byte_is_noticed_or_changes_nothing(
    filled: Path, where: float, flip: int
) -> None:
    whole = filled.read_bytes()
    damaged = bytearray(whole)
    damaged[int(where * len(whole))] ^= flip
    copy = filled.with_name("copy.sqlite")
    copy.write_bytes(damaged)
    with Store(filled) as store:
        expected = {row.key: row.content for row in store.rows()}
    try:
        with Store(copy) as store:
            found = {row.key: row.content for row in store.rows()}
    except DataError:
        return
    finally:
        copy.unlink()
    assert found.items() <= expected.items()


def test_a_changed_result_is_noticed_when_read(filled: Path) -> None:
    with sqlite3.connect(filled) as base:
        base.execute("UPDATE results SET result = '1' WHERE key = (SELECT min(key) FROM results)")
    base.close()
    with Store(filled) as store, pytest.raises(DataError, match="not what was written"):
        list(store.rows())


def test_a_store_of_another_version_is_refused(filled: Path) -> None:
    with sqlite3.connect(filled) as base:
        base.execute("PRAGMA user_version = 7")
    base.close()
    refused(filled, "expected a store of version 1, got one of version 7")


def test_a_database_of_another_program_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "theirs.sqlite"
    with sqlite3.connect(path) as base:
        base.execute("CREATE TABLE results (key TEXT)")
    base.close()
    refused(path, "a database of another program")


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("not a database, and long enough to be one" * 9)
    refused(path, "a file of another kind")


def test_a_store_needs_a_place(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is a directory"):
        Store(tmp_path)
    with pytest.raises(UsageError, match="there is no directory"):
        Store(tmp_path / "no" / "s")
    with pytest.raises(UsageError, match="there is no file"):
        Store(tmp_path / "s", new=False)
    assert list(tmp_path.iterdir()) == []


def test_an_empty_file_becomes_a_store(tmp_path: Path) -> None:
    (tmp_path / "s").touch()
    with Store(tmp_path / "s") as store:
        assert len(store) == 0


# --- parquet ---------------------------------------------------------------------------------------------------------


def test_parquet_has_every_result_and_the_same_bytes_each_time(
    filled: Path, tmp_path: Path
) -> None:
    one, two = tmp_path / "one.parquet", tmp_path / "two.parquet"
    with Store(filled) as store:
        assert write_parquet(store, one) == write_parquet(store, two) == 40
        rows = pq.ParquetFile(one).read().to_pylist()
        assert [(row["key"], row["result"].encode()) for row in rows] == [
            (row.key, row.content) for row in store.rows()
        ]
        write_parquet(store, two, seconds=True)
    assert rows[0]["function"] == "tests.serving.sweep_tasks:draw"
    assert '"n":40' in rows[0]["arguments"]
    assert pq.ParquetFile(two).schema_arrow.names[-1] == "seconds"


def test_a_failed_export_leaves_the_old_file(filled: Path, tmp_path: Path) -> None:
    with sqlite3.connect(filled) as base:
        base.execute("UPDATE results SET sha256 = '' WHERE key = (SELECT max(key) FROM results)")
    base.close()
    path = tmp_path / "old.parquet"
    path.write_bytes(b"old")
    with Store(filled) as store:
        with pytest.raises(DataError, match="not what was written"):
            write_parquet(store, path)
        with pytest.raises(DataError, match="cannot be written"):
            write_parquet(store, tmp_path / "no" / "file")
    assert path.read_bytes() == b"old"
    assert sorted(tmp_path.iterdir()) == sorted([filled, path])


# --- runners ---------------------------------------------------------------------------------------------------------


def test_the_choice_of_runner() -> None:
    assert runner_of(workers=1) == Serial()
    assert runner_of(workers=3) == Processes(workers=3)
    assert runner_of(ray="local", workers=2) == OnRay(address="local", workers=2)
    assert runner_of(ray="head:6379") == OnRay(address="head:6379")
    assert isinstance(runner_of(), Serial | Processes)


@pytest.mark.parametrize(
    ("workers", "ray", "message"),
    [
        (0, None, "0 workers"),
        (1 << 20, None, "workers, expected"),
        (2, "head:6379", "workers of its own"),
        (None, "head", "no address of a Ray"),
        (None, "head:0", "no address of a Ray"),
        (None, "head:99999", "no address of a Ray"),
        (None, "http://head:1", "no address of a Ray"),
        (None, "", "no address of a Ray"),
    ],
)
def test_absurd_choices_are_refused(workers: int | None, ray: str | None, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        runner_of(workers=workers, ray=ray)


def test_chunks_have_a_size() -> None:
    with pytest.raises(UsageError, match="chunk is 0"):
        Processes(chunk=0)
    with pytest.raises(UsageError, match="chunk is 0"):
        OnRay(chunk=0)


def test_ray_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UnsupportedError, match="need the package ray") as caught:
        list(sweep(steps(1), runner=OnRay(address="local")))
    assert caught.value.hint == "pip install 'takt-lpu[ray]'"


def test_no_one_at_the_address_is_said_at_once() -> None:
    if importlib.util.find_spec("ray") is None:
        pytest.skip("the package ray is not installed")
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(UsageError, match=f"no one answers at ray://127.0.0.1:{port}"):
        list(sweep(steps(1), runner=OnRay(address=f"ray://127.0.0.1:{port}")))


def test_a_ray_of_this_machine_gives_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """One start of Ray serves all: sweeps within the first one find it running."""
    if importlib.util.find_spec("ray") is None:
        pytest.skip("the package ray is not installed")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(REPOSITORY / "src"), str(REPOSITORY)]))
    import ray

    ticks = tmp_path / "ticks"
    tasks = [*steps(1), *steps(1, sweep_tasks.tick, log=ticks)]
    long = sweep(tasks, runner=OnRay(address="local", workers=2))
    try:
        assert contents([next(long)]) == contents(sweep(steps(1)))
        check_on_ray(tmp_path)
        until(ticks.exists, "a long task")
    finally:
        long.close()  # type: ignore[attr-defined]
    until(lambda: quiet(ticks), "a task that is stopped")
    assert not ray.is_initialized()
    assert capfd.readouterr().out == ""


def check_on_ray(folder: Path) -> None:
    runner = OnRay(address="local", in_flight=2)
    assert contents(sweep(steps(9), runner=runner)) == contents(sweep(steps(9)))
    with Store(folder / "s") as store:
        results = list(
            sweep(steps(6, sweep_tasks.fail_on_three), runner=runner, store=store, strict=False)
        )
        assert len(store) == 5
    assert isinstance(results[3].error, CapacityError)
    assert results[3].error.needed == 4
    with pytest.raises(ZeroDivisionError):
        list(sweep(steps(6, sweep_tasks.divide), runner=OnRay(address="local", chunk=2)))
    with pytest.raises(TaktError, match="Ray could not do seed 0: The worker died"):
        list(sweep(steps(1, sweep_tasks.die), runner=runner))
