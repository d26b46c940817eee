"""`takt simulate`: figures as JSON and text, whatever serves and whatever comes, and its mistakes."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from takt.cli.simulate_run import Growth
from takt.cli.simulate_words import decoders_of, drafts_of, scaling_of, span_of
from takt.errors import UsageError
from takt.serving import FINISHED
from takt.serving.event_files import read_events

from .conftest import Documented, Takt

Document = Callable[..., dict[str, Any]]
MODEL = "llama-3.1-8b"
HERE = ("simulate", MODEL, "--chip", "h100-sxm")
SMALL = ("--prompt", 300, "--output", 20, "--requests", 40, "--rate", 50)
TRACE = Path(__file__).parent.parent / "serving" / "data" / "trace_azure2023_conv.csv"
PROMISED = {"requests", "completed", "ttft_ms", "tpot_ms", "throughput_tok_s", "energy_j_per_token", "wall_s"}  # fmt: skip


def steady(document: dict[str, Any]) -> dict[str, Any]:
    """What must be the same in every run."""
    return {key: value for key, value in document.items() if key != "wall_s"}


def test_json_has_what_is_promised_and_documented(
    document: Document, documented: Documented
) -> None:
    found = document(*HERE, *SMALL, "--replicas", 2, "--seed", 0)
    assert set(found) >= PROMISED
    inner = set(found["pools"][0]) | set(found["tiers"][0])
    assert set(found) | inner >= documented("simulate") >= set(found)
    assert found["requests"] == found["completed"] == 40
    for name in ("ttft_ms", "tpot_ms", "e2e_ms", "queue_ms"):
        latency = found[name]
        assert (
            latency["min"] <= latency["p50"] <= latency["p90"] <= latency["p99"] <= latency["max"]
        )
        assert latency["min"] <= latency["mean"] <= latency["max"]
    assert found["e2e_ms"]["mean"] == pytest.approx(
        found["ttft_ms"]["mean"] + 19 * found["tpot_ms"]["mean"], rel=1e-6
    )
    assert found["throughput_tok_s"] == pytest.approx(40 * 20 / found["span_s"])
    assert found["energy_j_per_token"] > 0 and found["wall_s"] > 0
    assert found["notes"] == ["h100-sxm: one chip is the smallest layout that fits"]


def test_both_simulators_say_the_same_of_everything_at_once(document: Document) -> None:
    every = (
        *HERE, *SMALL, "--replicas", 3, "--turns", "1-3", "--think", "0.1", "--prefix", "64:0.5",
        "--tiers", "paid:0.4,free:0.6", "--order", "priority", "--router", "prefix-aware", "--ttft", "40ms",
        "--drafts", 2, "--acceptance", 0.6, "--mtbf", "1s", "--repair", "200ms", "--autoscale", "1:2",
        "--startup", "100ms", "--max-seqs", 4, "--max-step-tokens", 256, "--warmup", 5,
    )  # fmt: skip
    fast = steady(document(*every))
    slow = steady(document(*every, "--simulator", "reference"))
    assert fast.pop("simulator") == "fast" and slow.pop("simulator") == "reference"
    assert fast == slow
    assert fast["pools"][0]["failures"] > 0
    assert [tier["name"] for tier in fast["tiers"]] == ["paid", "free"]


def test_the_same_command_prints_the_same_and_another_seed_does_not(takt: Takt) -> None:
    command = (*HERE, *SMALL, "--replicas", 2, "--ttft", "50ms", "--tpot", "20ms")
    status, first, err = takt(*command)
    assert (status, err) == (0, "note: h100-sxm: one chip is the smallest layout that fits\n")
    assert takt(*command) == (status, first, err)
    assert takt(*command, "--seed", 1)[1] != first
    for word in ("time to first token", "in the queue", "goodput", "within ttft 50 ms, tpot 20 ms", "Rests on"):  # fmt: skip
        assert word in first
    assert "Warning" not in first
    assert max(map(len, first.splitlines())) <= 130


def test_prompts_and_tokens_apart(document: Document) -> None:
    found = document(*HERE, *SMALL, "--decode", "h100-sxm:2:2")
    first, second = found["pools"]
    assert (first["role"], second["role"]) == ("prompt", "decode")
    assert (first["layout"]["tp"], second["layout"]["tp"], second["chips"]) == (1, 2, 2)
    assert first["sent_tokens"] == 40 * 300
    assert first["generated_tokens"] + second["generated_tokens"] == 40 * 20
    assert second["read_tokens"] == 0


def test_prompts_on_gpus_and_tokens_on_lpus(document: Document) -> None:
    one = ("--prompt", 300, "--output", 20, "--requests", 10, "--rate", 1)
    found = document(*HERE, *one, "--decode", "lpu-v1:1", "--price", "lpu-v1=0.1")
    gpu, lpu = found["pools"]
    assert (gpu["role"], lpu["role"], lpu["engine"]) == ("prompt", "decode", "schedule")
    alone = document("simulate", MODEL, "--chip", "lpu-v1", *one)
    assert found["tpot_ms"]["mean"] == pytest.approx(alone["tpot_ms"]["mean"], rel=0.5)
    assert found["tpot_ms"]["mean"] < 1 < document(*HERE, *one)["tpot_ms"]["mean"]
    assert lpu["usd_per_h"] == pytest.approx(0.1 * lpu["chips"])
    assert alone["usd"] is None and found["usd"] > 0


def test_a_recording_is_played_and_its_events_are_logged(
    document: Document, tmp_path: Path
) -> None:
    log = tmp_path / "events.jsonl.gz"
    found = document(*HERE, "--trace", TRACE, "--events", log)
    n = len(TRACE.read_text().splitlines()) - 1
    assert found["requests"] == n
    events = np.concatenate(list(read_events(log)))
    assert int((events["kind"] == 5).sum()) == n
    again = tmp_path / "again.jsonl.gz"
    pictures = ("--perfetto", tmp_path / "t.json", "--timeline", tmp_path / "t.svg", "--plot", tmp_path / "p.svg")  # fmt: skip
    seen = document(*HERE, "--trace", TRACE, "--events", again, *pictures)
    assert steady(seen) == steady(found)
    assert again.read_bytes() == log.read_bytes()
    assert len(json.loads((tmp_path / "t.json").read_text())["traceEvents"]) > n
    assert all((tmp_path / name).read_text().startswith("<?xml") for name in ("t.svg", "p.svg"))


def test_what_a_recording_lacks_is_said_with_and_without_json(takt: Takt, tmp_path: Path) -> None:
    log = tmp_path / "log.csv"
    log.write_text("arrival_s,prompt_tokens,output_tokens\n0,90,5\n1,80,0\n2,70,5\n")
    said = [
        "1 of 3 rows without tokens left out",
        "the recording has 2 requests: those come, not the 9 asked for",
    ]
    command = (*HERE, "--trace", log, "--requests", 9)
    status, out, err = takt(*command, "--json")
    assert (status, err) == (0, "".join(f"note: {note}\n" for note in said))
    found = json.loads(out)
    assert found["notes"][:2] == said and found["requests"] == 2
    layout = found["notes"][2]
    assert takt(*command)[2] == "".join(f"note: {note}\n" for note in [*said, layout])


def test_an_event_log_is_written_through_a_link(takt: Takt, tmp_path: Path) -> None:
    log, link = tmp_path / "log.jsonl", tmp_path / "link.jsonl"
    log.write_text("before")
    link.symlink_to(log)
    assert takt(*HERE, *SMALL, "--events", link)[0] == 0
    assert link.is_symlink() and log.read_text().startswith('{"time_ns":0,')
    assert len(list(tmp_path.iterdir())) == 2


def test_replications_give_means_with_intervals_and_are_kept(
    document: Document, takt: Takt, tmp_path: Path
) -> None:
    store = tmp_path / "runs.sqlite"
    several = (*HERE, *SMALL, "--replications", 3, "--resume", store)
    found = document(*several)
    alone = [document(*HERE, *SMALL, "--seed", seed) for seed in (0, 1, 2)]
    assert found["seeds"] == [0, 1, 2]
    for name in ("mean", "p99"):
        values = [each["e2e_ms"][name] for each in alone]
        assert found["e2e_ms"][name] == pytest.approx(np.mean(values))
        # Student's t for two degrees of freedom
        half = 4.302653 * np.std(values, ddof=1) / 3**0.5
        assert found["half_widths"][f"e2e_ms.{name}"] == pytest.approx(half, rel=1e-3)
    assert steady(document(*several)) == steady(found)
    status, out, _ = takt(*several)
    assert status == 0 and "Mean of 3 seeds (0 to 2)" in out and " ± " in out


def test_a_fleet_that_falls_behind_is_said_to(document: Document, takt: Takt) -> None:
    heavy = ("--prompt", 2000, "--output", 50, "--requests", 600, "--rate", 500)
    assert document(*HERE, *heavy)["steady"] is False
    assert document(*HERE, *heavy[:-2], "--arrivals", "at-once")["steady"] is True
    out = takt(*HERE, *heavy)[1]
    assert "cannot keep up" in out
    assert "were rejected" in takt(*HERE, *heavy, "--max-waiting", 10)[1]


def test_figures_are_those_of_the_event_log(document: Document, tmp_path: Path) -> None:
    """Worked out anew from what happened: prompts and tokens apart, with a warm-up, targets and tiers."""
    log, warmup, entry_ns = (
        tmp_path / "log.jsonl",
        20,
        30_000_000,
    )  # vLLM's front end, before the router
    found = document(
        *HERE, "--replicas", 2, "--decode", "h100-sxm:1", "--rate", 12, "--requests", 150, "--prompt", "exp:900",
        "--output", "exp:60", "--tiers", "paid:0.3,free:0.7", "--ttft", "60ms", "--tpot", "4.6ms", "--warmup", warmup,
        "--events", log,
    )  # fmt: skip
    events = [json.loads(line) for line in log.read_text().splitlines()]
    at: dict[str, dict[int, dict[str, Any]]] = {}
    for event in events:
        at.setdefault(event["kind"], {}).setdefault(event.get("request", -1), event)
    sent = {number: each["time_ns"] - entry_ns for number, each in at["arrive"].items()}
    counted = [number for number in sent if number >= warmup]
    first, last = ({n: e["time_ns"] for n, e in at[kind].items()} for kind in ("first", "finish"))
    tokens = {number: each["output_tokens"] for number, each in at["finish"].items()}
    ttft = [first[n] - sent[n] for n in counted]
    tpot = {n: -(-(last[n] - first[n]) // (tokens[n] - 1)) if tokens[n] > 1 else 0 for n in counted}
    for name, values in (
        ("ttft_ms", ttft),
        ("tpot_ms", [tpot[n] for n in counted if tokens[n] > 1]),
        ("e2e_ms", [last[n] - sent[n] for n in counted]),
        ("queue_ms", [at["admit"][n]["time_ns"] - sent[n] for n in counted]),
    ):
        expected = np.array(values) / 1e6
        assert found[name]["mean"] == pytest.approx(expected.mean(), rel=1e-9)
        for key, share in (("p50", 0.5), ("p90", 0.9), ("p99", 0.99)):
            assert found[name][key] == pytest.approx(float(np.quantile(expected, share)), rel=1 / 2048)  # fmt: skip
    good = [t <= 60e6 and tpot[n] <= 4.6e6 for t, n in zip(ttft, counted, strict=True)]
    assert 0 < found["goodput"] == sum(good) / len(counted) < 1
    span_s = (max(event["time_ns"] for event in events) - min(sent.values())) / 1e9
    assert found["span_s"] == pytest.approx(span_s)
    assert found["throughput_tok_s"] == pytest.approx(sum(tokens.values()) / span_s)
    assert sum(tier["requests"] for tier in found["tiers"]) == len(sent) == 150
    usd = 0.0
    for pool, numbers in zip(found["pools"], ((0, 1), (2,)), strict=True):
        steps = [e for e in events if e["kind"] == "step" and e["replica"] in numbers]
        busy_ns = sum(step["step_ns"] for step in steps)
        held_ns = sum(step["step_ns"] * step["blocks"] * 16 for step in steps)
        assert pool["utilisation"] == pytest.approx(busy_ns / 1e9 / span_s / len(numbers))
        assert pool["kv_mean"] == pytest.approx(held_ns / busy_ns / pool["kv_tokens"])
        assert pool["kv_peak"] == pytest.approx(max(s["blocks"] for s in steps) * 16 / pool["kv_tokens"])  # fmt: skip
        assert pool["read_tokens"] == sum(step["read_tokens"] for step in steps)
        usd += pool["usd_per_h"] * len(numbers) * span_s / 3600
    assert found["usd_per_mtok"] == pytest.approx(usd / sum(tokens.values()) * 1e6)
    assert found["energy_j_per_token"] == pytest.approx(found["mw"] * 1e6 * span_s / sum(tokens.values()))  # fmt: skip


def test_goodput_is_of_the_targets(document: Document) -> None:
    assert document(*HERE, *SMALL, "--ttft", "1us")["goodput"] == 0
    assert document(*HERE, *SMALL, "--ttft", "60s", "--e2e", "3600s")["goodput"] == 1


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("--rate", 0), "a rate (requests/s) is 0"),
        (("--rate", "1e12"), "a rate (requests/s) is 1e+12"),
        (("--rate", 5, "--replicas", 0), "--replicas 0: expected 1 or more"),
        (("--rate", 5, "--replicas", 10**6), "expected 1 to 65,536"),
        (("--rate", 5, "--chip", "h100-smx"), "did you mean 'h100-sxm'?"),
        (("--rate", 5, "--chip", "h100-sxm,h200-sxm"), "a pool is of one kind of chip"),
        (("--rate", 5, "--prompt", 200_000), "has 131,072 positions"),
        (("--rate", 5, "--tp", 0), "--tp 0: expected 1 or more"),
        (("--rate", 5, "--tp", 3), "--tp 3 does not divide the 32 attention heads of llama-3.1-8b"),
        (("--rate", 5, "--tp", 10**6), "--tp 1,000,000 does not divide"),
        (("--rate", 5, "--pp", 33), "llama-3.1-8b has 32 layers"),
        (("--rate", 5, "--tp", 2, "--ep", 2), "llama-3.1-8b has no experts"),
        (("--rate", 5, "--dp", 10**6), "--dp 1,000,000: expected 1 to 4,096"),
        (("--rate", 5, "--decode", "h100-sxm:1:5"), "--tp 5 does not divide"),
        (("--rate", 5, "--max-seqs", 0), "--max-seqs 0"),
        (("--rate", 5, "--warmup", 40), "leaves nothing of 40 requests"),
        (("--rate", 5, "--order", "deadline"), "needs a deadline"),
        (("--rate", 5, "--order", "lifo"), "no order 'lifo'"),
        (("--rate", 5, "--router", "leest-loaded"), "did you mean 'least-loaded'?"),
        (("--rate", 5, "--precision", "fp7"), "no precision 'fp7'"),
        (("--rate", 5, "--engine", "vlm"), "did you mean 'vllm'?"),
        (("--rate", 5, "--decode", "h100-sxm"), "CHIP:REPLICAS"),
        (("--rate", 5, "--autoscale", 4), "there are 1 --replicas at most"),
        (("--rate", 5, "--startup", "5s"), "--startup goes with --autoscale"),
        (("--rate", 5, "--mtbf", 5), "a time with its unit"),
        (("--rate", 5, "--repair", "5s"), "--repair goes with --mtbf"),
        (("--rate", 5, "--drafts", 3), "come together"),
        (("--rate", 5, "--ttft", "fast"), "--ttft 'fast' is no time"),
        (("--rate", 5, "--price", "h200-sxm=2"), "h200-sxm"),
        (("--rate", 5, "--simulator", "slow"), "no simulator 'slow'"),
        (("--rate", 5, "--seed", -1), "--seed -1"),
        (("--rate", 5, "--ray", "local"), "say --replications N"),
        (("--rate", 5, "--replications", 2, "--plot", "x.svg"), "shows one run"),
        (("--rate", 5, "--plot", "x.pdf"), "ends in .png or .svg"),
        (("--rate", 5, "--perfetto", "x.txt"), "expected a file that ends in .json"),
        (("--rate", 5, "--plot", "x.svg", "--timeline", "./x.svg"), "--timeline and --plot are both to be written to"),
        (("--rate", 5, "--events", "x.txt"), "in which format"),
        (("--rate", 5, "--events", "no/such/x.csv"), "there is no directory"),
        (("--concurrency", 4, "--mtbf", "1h"), "no failures can be drawn"),
        (("--concurrency", 0), "--concurrency 0: expected 1 or more users"),
        ((), "how often do requests come?"),
    ],
)  # fmt: skip
def test_mistakes_are_told(
    takt: Takt, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[object, ...], complaint: str
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    status, out, err = takt(*HERE, "--prompt", 300, "--output", 20, "--requests", 40, *arguments)
    assert (status, out) == (2, "")
    assert complaint in err
    assert list(tmp_path.iterdir()) == []


def test_a_model_too_large_says_how_many_chips_hold_it(takt: Takt) -> None:
    status, _, err = takt("simulate", "llama-3.1-405b", "--chip", "rtx-4090", "--tp", 1, *SMALL)
    assert status == 2 and "weights" in err
    status, _, err = takt(
        "simulate", "kimi-k2", "--chip", "rtx-4090", "--precision", "bf16", *SMALL
    )
    assert status == 2 and "chips would hold it" in err


def test_a_malformed_recording_is_told_line_by_line(takt: Takt, tmp_path: Path) -> None:
    file = tmp_path / "bad.csv"
    file.write_text("arrival_s,prompt_tokens,output_tokens\n0,5,x\n1,-3,4\n")
    status, _, err = takt(*HERE, "--trace", file)
    assert status == 2
    assert "line 2, output_tokens" in err and "line 3, prompt_tokens" in err
    status, _, err = takt(*HERE, "--trace", TRACE, "--replications", 2)
    assert status == 2 and "the same under every seed" in err


def test_longer_texts_than_the_model_reads_are_cut_and_that_is_said(document: Document) -> None:
    sizes = ("--prompt", "90000-150000", "--output", 5, "--requests", 20, "--rate", 0.1)
    (note, _) = document(*HERE, *sizes)["notes"]
    assert "are cut to the 131,072 positions of llama-3.1-8b" in note


def test_an_interrupted_run_leaves_the_old_log(tmp_path: Path) -> None:
    log = tmp_path / "events.jsonl"
    log.write_text("old\n")
    command = [*map(str, HERE), "--rate", "20", "--prompt", "500", "--output", "200", "--requests", "5000000"]  # fmt: skip
    script = (
        "import signal, threading, os, sys\n"
        "from takt.cli import main\n"
        "from takt.serving.results import EventFile\n"
        "add = EventFile.add\n"
        "def then_stop(self, rows):\n"
        "    add(self, rows)\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "EventFile.add = then_stop\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "main(sys.argv[1:])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, *command, "--events", str(log)],
        capture_output=True, encoding="utf-8", timeout=60,
    )  # fmt: skip
    assert done.returncode == 130
    assert done.stdout == ""
    assert done.stderr == f"stopped; {log}: left as before\n"
    assert log.read_text() == "old\n" and list(tmp_path.iterdir()) == [log]


def test_help_is_quick_and_teaches() -> None:
    script = (
        "import sys\n"
        "from takt.cli import main\n"
        "try:\n"
        "    main(['simulate', '--help'])\n"
        "except SystemExit:\n"
        "    pass\n"
        "heavy = {'numpy', 'pyarrow', 'matplotlib', 'multiprocessing'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, encoding="utf-8", check=True)  # fmt: skip
    assert "takt simulate llama-3.1-8b --chip h100-sxm --replicas 4 --rate 20" in done.stdout
    assert " ".join(done.stdout.split()).count("a bare number is milliseconds") == 3


def test_words_mean_what_they_say() -> None:
    assert [span_of("--mtbf", text) for text in ("90s", "1.5min", "36h", "2d", "500ms")] == [
        90, 90, 129_600, 172_800, 0.5,
    ]  # fmt: skip
    pools = [decoders_of(text) for text in ("a:2", "a:2:4", "c:/x.toml:3")]
    assert [(p.chip, p.replicas, p.tp) for p in pools] == [("a", 2, None), ("a", 2, 4), ("c:/x.toml", 3, None)]  # fmt: skip
    scaling = scaling_of("2:24", "30s")
    assert (scaling.least, scaling.target_load, scaling.startup_s) == (2, 24, 30)
    assert drafts_of(3, 0.7) == (3, 0.7) and drafts_of(None, None) is None
    for text in ("", ":", "a:", "a:0", "a:1:0", "a:b", ":1"):
        with pytest.raises(UsageError):
            decoders_of(text)


@pytest.mark.parametrize("n", [300, 5000, 40_000])
def test_growth_tells_a_queue_that_grows_from_one_that_does_not(n: int) -> None:
    rows = np.zeros(n, FINISHED)
    rows["request"] = np.arange(n)
    noise = np.random.default_rng(3).standard_exponential(n)
    for rise, calm in ((0.0, True), (0.1, True), (20.0, False)):
        rows["last_ns"] = ((1 + noise + rise * np.arange(n) / n) * 1e9).astype(np.int64)
        growth = Growth()
        for part in np.array_split(rows, 7):
            growth.add(part)
        assert growth.steady is calm


def test_the_plain_command_needs_no_pictures_and_no_processes() -> None:
    command = [*map(str, HERE), *map(str, SMALL), "--json"]
    script = (
        "import sys\n"
        "from takt.cli import main\n"
        "try:\n"
        "    main(sys.argv[1:])\n"
        "except SystemExit:\n"
        "    pass\n"
        "heavy = {'matplotlib', 'multiprocessing', 'sqlite3', 'ray', 'scipy', 'torch', 'pandas', 'pyarrow.dataset', 'takt.report'}\n"
        "print(sorted(heavy & set(sys.modules)), file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", script, *command], capture_output=True, encoding="utf-8", check=True)  # fmt: skip
    assert done.stderr == "[]\n"
    assert json.loads(done.stdout)["completed"] == 40
