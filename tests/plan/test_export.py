"""A plan as files that run: lines that the tools understand, manifests that their schemas allow, JSON that reads back."""

import json
import os
import re
import shlex
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.plan.manifests import problems
from tests.plan.plans_for_tests import (
    FLEETS,
    attention_ffn,
    disaggregated,
    experts,
    figures,
    gpu_and_lpu,
    gpu_only,
    lpu_only,
    plan_of,
    plan_set,
    pool,
    two_nodes,
    unmet,
)

from takt.errors import DataError, TaktError, UsageError
from takt.plan.export import (
    ENGINES,
    STACKS,
    Scaling,
    Server,
    Settings,
    Unserved,
    check_argv,
    check_folder,
    document_of,
    export_plan,
    json_of,
    launch_commands,
    plan_set_of,
    servers_of,
)
from takt.plan.export.arguments import TOOLS, load_tool
from takt.plan.export.trtllm import check_options
from takt.plan.export.write import export_files
from takt.plan.layout import Layout
from takt.plan.plans import Plan

SOURCE = Path(__file__).resolve().parents[2] / "src" / "takt"


def wide_experts() -> Plan:
    """Sixteen groups of attention over two machines."""
    wide = pool(chips=16, layout=Layout(dp=16, ep=16), replicas=2)
    return plan_of("2x h100-sxm dp16 ep16", wide)


def of_engine(plan: Plan, engine: str) -> Plan:
    return replace(plan, pools=tuple(replace(each, engine=engine) for each in plan.pools))


def servers(plan: Plan, engine: str = "auto") -> list[Server]:
    return [part for part in servers_of(plan, engine) if isinstance(part, Server)]


GPUS = (gpu_only, disaggregated, experts, two_nodes, wide_experts)
CASES = [
    pytest.param(of_engine(fleet(), engine), id=f"{fleet.__name__}-{engine}")
    for fleet in GPUS
    for engine in ENGINES
]


# --- JSON of everything ---


@pytest.mark.parametrize("answer", [plan_set(), unmet()], ids=["met", "unmet"])
def test_the_document_reads_back_as_the_same_answer(answer: Any) -> None:
    assert plan_set_of(document_of(answer)) == answer
    assert plan_set_of(json_of(answer)) == answer


def test_the_document_has_every_field_and_its_format() -> None:
    document = document_of(plan_set())
    assert document["format"] == "takt-plan-1"
    assert document["limits"]["supply"] == {"h200-sxm": 512, "mi300x": 0}
    assert document["pareto"][0]["pools"][0]["layout"] == {"tp": 4, "pp": 1, "dp": 1, "ep": 1}
    assert document["pareto"][0]["figures"]["ttft_s"]["p99"]["half_width"] == 0.01 * 0.21


def test_sets_are_written_in_order_whatever_the_seed_of_hashes() -> None:
    code = (
        "import sys; sys.path[:0] = sys.argv[1:]\n"
        "from tests.plan.plans_for_tests import plan_of, pool, plan_set\n"
        "from takt.plan.export import json_of\n"
        "plan = plan_of('p', pool(), basis=frozenset(f'basis {i}' for i in range(20)))\n"
        "sys.stdout.buffer.write(json_of(plan_set(pareto=(plan,))))\n"
    )
    paths = [str(SOURCE.parent), str(SOURCE.parents[1])]
    runs = [
        subprocess.run(
            [os.sys.executable, "-c", code, *paths],  # type: ignore[attr-defined]
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    ]
    assert runs[0] == runs[1] and b"basis 19" in runs[0]


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda d: d.update(format="takt-plan-9"), "takt-plan-1"),
        (lambda d: d.update(colour="red"), "colour"),
        (lambda d: d.pop("seed"), "seed"),
        (lambda d: d.update(rate="fast"), "rate"),
        (lambda d: d["pareto"][0]["pools"][0].update(speed=1), "speed"),
        (lambda d: d["targets"].pop("ttft_at"), "ttft_at"),
        (lambda d: d["pareto"][0]["pools"][0].update(role="cook"), "role"),
    ],
)
def test_a_document_that_is_not_exactly_one_is_refused(change: Any, complaint: str) -> None:
    document = json.loads(json_of(plan_set()))
    change(document)
    with pytest.raises(DataError, match=complaint):
        plan_set_of(document)


def test_what_is_no_json_is_refused() -> None:
    with pytest.raises(DataError, match="not JSON"):
        plan_set_of(b'{"format": ')


def test_a_number_that_is_none_is_not_written() -> None:
    broken = plan_of("p", pool(), figures=figures(utilisation=float("nan")))
    with pytest.raises(DataError, match=r"pareto\[0\].figures.utilisation"):
        document_of(plan_set(pareto=(broken,)))


# --- command lines ---


@pytest.mark.parametrize("name", TOOLS)
def test_every_list_of_arguments_loads_and_says_where_it_is_from(name: str) -> None:
    tool = load_tool(name)
    assert tool.arguments and tool.version and tool.licence
    assert re.search(r"on PyPI|@[0-9a-f]{40}:", tool.source)


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("vllm serve m --tensor-paralel-size 4", "tensor-paralel-size"),
        ("vllm serve m --tensor-parallel-size four", "expected int"),
        ("vllm serve m --kv-cache-dtype fp9", "fp9"),
        ("vllm serve m --max-num-seqs", "needs a value"),
        ("vllm serve m --enable-expert-parallel 8", "does not know what '8'"),
        ("vllm serve m n", "does not know what 'n'"),
        ("vllm serve m --headless=yes", "takes no value"),
        ("vllm serve m --speculative-config {ngram}", "expected json"),
        ("trtllm-serve serve m --tp 4", "'--tp'"),
        ("python3 -m sglang.launch_server --disaggregation-mode prompt", "prompt"),
        ("vllm-router --policy fastest", "fastest"),
        ("vlm serve m", "no list of arguments"),
    ],
)
def test_a_line_that_the_tool_does_not_understand_is_refused(line: str, complaint: str) -> None:
    with pytest.raises(UsageError, match=re.escape(complaint)):
        check_argv(shlex.split(line))


@pytest.mark.parametrize(
    "line",
    [
        "vllm serve m -tp 4 --no-enable-prefix-caching --seed -1",
        "vllm serve m --tensor-parallel-size=4 --served-model-name a b",
        "vllm serve '${MODEL}' --node-rank '${NODE_RANK}'",
        "trtllm-serve disaggregated -c file.yaml",
        "python3 -m dynamo.vllm --model m --disaggregation-mode prefill --max-num-seqs 4",
    ],
)
def test_other_spellings_are_understood(line: str) -> None:
    check_argv(shlex.split(line))


def test_a_near_miss_is_named() -> None:
    with pytest.raises(UsageError) as caught:
        check_argv(["vllm", "serve", "m", "--max-num-seq", "4"])
    assert caught.value.hint == "did you mean '--max-num-seqs'?"


@pytest.mark.parametrize("plan", CASES)
def test_every_line_is_one_that_its_tool_understands(plan: Plan) -> None:
    settings = Settings(context_tokens=4096)
    chosen = servers(plan)
    assert len(chosen) == len(plan.pools)
    for server in chosen:
        for command in launch_commands(server, settings):
            assert check_argv(command.words).command[0] == command.words[0]


def words_of(plan: Plan, engine: str, **settings: Any) -> list[str]:
    (server,) = servers(of_engine(plan, engine))
    return list(launch_commands(server, Settings(**settings))[0].words)


def value(words: list[str], option: str) -> str:
    return words[words.index(option) + 1]


def test_the_line_says_what_the_plan_says() -> None:
    words = words_of(gpu_only(), "vllm", context_tokens=2048)
    assert value(words, "--tensor-parallel-size") == "4"
    assert value(words, "--quantization") == value(words, "--kv-cache-dtype") == "fp8"
    assert value(words, "--max-num-seqs") == "256"
    assert value(words, "--max-num-batched-tokens") == "8192"
    assert value(words, "--max-model-len") == "2048"
    assert "--enable-prefix-caching" in words and "--enable-expert-parallel" not in words


def test_each_engine_counts_groups_of_attention_its_own_way() -> None:
    plan = plan_of("moe", pool(chips=8, layout=Layout(dp=8, ep=8), max_step_tokens=8200))
    vllm, sglang, trtllm = (words_of(plan, engine) for engine in ENGINES)
    assert value(vllm, "--data-parallel-size") == "8" and "--enable-expert-parallel" in vllm
    assert value(vllm, "--max-num-seqs") == "32"  # of each group
    assert value(vllm, "--max-num-batched-tokens") == "1025"
    assert value(sglang, "--tp-size") == value(sglang, "--attn-dp-size") == "8"
    assert value(sglang, "--max-running-requests") == "256"  # of all together
    assert value(trtllm, "--tp_size") == value(trtllm, "--ep_size") == "8"
    assert value(trtllm, "--max_batch_size") == "32"


def test_tokens_of_a_step_are_never_fewer_than_its_requests() -> None:
    plan = plan_of("small", pool(max_seqs=512, max_step_tokens=64))
    assert value(words_of(plan, "vllm"), "--max-num-batched-tokens") == "512"


@pytest.mark.parametrize("engine", ["vllm", "sglang"])
def test_types_that_a_checkpoint_must_bring_have_no_flag_but_a_note(engine: str) -> None:
    for types in ({"weights": "fp4"}, {"weights": "fp8", "experts": "fp4"}, {"weights": "int4"}):
        plan = plan_of("quantised", pool(**types))
        assert "--quantization" not in words_of(plan, engine)
        files = export_files(plan_set(pareto=(plan,)), of_engine(plan, engine))
        assert "must be a checkpoint quantised to" in files["launch.sh"]
    assert "--quantization" not in words_of(plan_of("wide", pool(weights="bf16")), engine)


@pytest.mark.parametrize(
    ("own", "methods"), [(False, ("ngram", "NGRAM")), (True, ("mtp", "NEXTN"))]
)
def test_drafts_come_from_the_model_where_it_makes_some(own: bool, methods: Any) -> None:
    plan = plan_of("drafts", pool(draft_tokens=3, acceptance=0.6))
    config = json.loads(value(words_of(plan, "vllm", own_drafts=own), "--speculative-config"))
    assert config == {"method": methods[0], "num_speculative_tokens": 3}
    words = words_of(plan, "sglang", own_drafts=own)
    assert value(words, "--speculative-algorithm") == methods[1]
    assert value(words, "--speculative-num-draft-tokens") == "4"


@pytest.mark.parametrize(("model", "method"), [("deepseek-v3", "mtp"), ("llama-3.3-70b", "ngram")])
def test_the_catalogue_says_which_models_draft_themselves(model: str, method: str) -> None:
    plan = plan_of("drafts", pool(draft_tokens=1))
    assert f'"method": "{method}"' in export_files(plan_set(model=model), plan)["launch.sh"]


def test_sglang_makes_no_drafts_from_prompts_where_attention_is_copied() -> None:
    assert "--speculative-algorithm" not in words_of(experts(), "sglang")
    assert "--speculative-algorithm" in words_of(experts(), "sglang", own_drafts=True)
    assert "No drafts" in export_files(plan_set(), experts())["launch.sh"]


def test_chunks_of_sglang_are_whole_blocks() -> None:
    plan = plan_of("p", pool(max_step_tokens=1000, block_tokens=64))
    assert value(words_of(plan, "sglang"), "--chunked-prefill-size") == "960"


def test_options_of_tensorrt_llm_are_checked_too() -> None:
    check_options({"kv_cache_config": {"dtype": "fp8", "tokens_per_block": 32}})
    with pytest.raises(UsageError, match="tokens_per_blok"):
        check_options({"kv_cache_config": {"tokens_per_blok": 32}})
    with pytest.raises(UsageError, match="expected int"):
        check_options({"kv_cache_config": {"tokens_per_block": "32"}})
    with pytest.raises(UsageError, match="NIXL"):
        check_options({"cache_transceiver_config": {"backend": "nixl"}})


_LONGEST = {"vllm": "--max-model-len", "sglang": "--context-length", "trtllm": "--max_seq_len"}


def longest(files: dict[str, str]) -> set[int]:
    """The longest request that each line of the script and of the manifests allows."""
    options = "|".join(map(re.escape, _LONGEST.values()))
    text = "\n".join(text for name, text in files.items() if name.endswith((".sh", ".yaml")))
    return {int(found) for found in re.findall(rf"(?:{options})[\s\\'\"-]+(\d+)", text)}


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("fleet", GPUS)
def test_every_line_takes_the_longest_request_of_the_plan(fleet: Any, engine: str) -> None:
    plan = of_engine(fleet(), engine)
    files = export_files(plan_set(pareto=(plan,), context_tokens=9216), plan)
    assert longest(files) == {9216}
    for server in servers(plan):
        starts = files["launch.sh"].count(_LONGEST[server.engine])
        assert starts == sum(len(launch_commands(each, Settings())) for each in servers(plan))
        manifest = files.get(f"kubernetes/{server.name}.yaml")
        assert manifest is None or _LONGEST[server.engine] in manifest
    assert "up to 9,216 tokens" in files["README.txt"]
    assert plan_set_of(files["plan.json"].encode()).context_tokens == 9216


@pytest.mark.parametrize("engine", ENGINES)
def test_no_line_takes_a_request_that_a_cache_has_no_room_for(engine: str) -> None:
    small = pool(kv_tokens=17_312, engine=engine)
    groups = pool(kv_tokens=40_000, chips=8, layout=Layout(dp=8, ep=8), engine=engine)
    for pools, most in (
        ((small,), 17_312),
        ((groups,), 4992),  # whole blocks of one of eight groups
        ((small, groups), 4992),  # a router may send it to either
    ):
        plan = plan_of("p", *pools)
        for wanted in (20_480, None):  # nobody said: Llama 3.3 would take 131,072
            files = export_files(plan_set(pareto=(plan,), context_tokens=wanted), plan)
            assert longest(files) == {most}
        files = export_files(plan_set(pareto=(plan,), context_tokens=20_480), plan)
        assert f"refuse requests of more than {most:,} tokens" in files["README.txt"]


def test_no_line_takes_more_than_the_model_or_says_what_nobody_knows() -> None:
    files = export_files(plan_set(context_tokens=1_000_000), gpu_only())
    assert longest(files) == {131_072}
    assert longest(export_files(plan_set(model="my/own"), gpu_only())) == set()
    wished = Settings(context_tokens=2048)
    files = export_files(plan_set(context_tokens=9216), gpu_only(), settings=wished)
    assert longest(files) == {2048}


# --- what serves ---


def test_a_machine_holds_whole_groups_of_tensor_parallelism() -> None:
    def nodes(chip: str, chips: int, layout: Layout) -> tuple[int, int]:
        (server,) = servers(plan_of("p", pool(chip=chip, chips=chips, layout=layout)))
        return server.nodes, server.node_chips

    assert nodes("h100-sxm", 4, Layout(tp=4)) == (1, 4)
    assert nodes("h100-sxm", 16, Layout(tp=8, pp=2)) == (2, 8)
    assert nodes("h100-sxm", 12, Layout(tp=4, pp=3)) == (3, 4)
    assert nodes("gb200-nvl72", 16, Layout(tp=16)) == (4, 4)


@pytest.mark.parametrize(
    ("chip", "resource", "engine"),
    [
        ("h100-sxm", "nvidia.com/gpu", "vllm"),
        ("mi300x", "amd.com/gpu", "vllm"),
        ("tpu-v5e", "google.com/tpu", "vllm"),
        ("gaudi3", "habana.ai/gaudi", "vllm"),
        ("trainium2", "aws.amazon.com/neuron", "vllm"),
    ],
)
def test_each_vendor_has_its_resource(chip: str, resource: str, engine: str) -> None:
    (server,) = servers(plan_of("p", pool(chip=chip, engine="generic")))
    assert (server.resource, server.engine) == (resource, engine)


@pytest.mark.parametrize("chip", ["groqrack-v1", "lpx-rack", "cerebras-wse3", "no-such-chip"])
def test_a_chip_without_an_open_engine_says_so(chip: str) -> None:
    (part,) = servers_of(plan_of("p", pool(chip=chip, name="that chip")))
    assert isinstance(part, Unserved) and "no open engine serves on that chip" in part.reason


@pytest.mark.parametrize("fleet", [gpu_and_lpu, attention_ffn])
def test_half_a_pair_is_not_launched(fleet: Any) -> None:
    assert all(isinstance(part, Unserved) for part in servers_of(fleet()))


def test_engines_that_hand_no_caches_to_each_other_are_not_mixed() -> None:
    first, second = disaggregated().pools
    mixed = plan_of("p", first, replace(second, engine="sglang"))
    parts = servers_of(mixed)
    assert [part.reason for part in parts if isinstance(part, Unserved)] == [
        "sglang and vllm do not hand caches to each other"
    ] * 2
    assert len(servers(mixed, "sglang")) == 2


def test_an_engine_that_does_not_serve_there_is_no_silent_swap() -> None:
    (part,) = servers_of(plan_of("p", pool(chip="mi300x")), "trtllm")
    assert isinstance(part, Unserved) and "trtllm does not serve" in part.reason
    with pytest.raises(UsageError, match="no engine 'vlm'") as caught:
        servers_of(gpu_only(), "vlm")
    assert caught.value.hint == "did you mean 'vllm'?"


def test_checkpoints_are_those_that_the_sizes_are_from() -> None:
    named = (SOURCE / "plan/export/checkpoints.toml").read_text(encoding="utf-8")
    rows = re.findall(r'^"(.+)" = "(.+)"$', named, re.M)
    assert len(rows) > 200
    for name, repository in rows:
        files = [
            path
            for path in (
                SOURCE / f"models/shapes/{name}.toml",
                SOURCE / f"models/outlines/published/{name}.json",
            )
            if path.exists()
        ]
        assert any(f"config.json of {repository}" in path.read_text() for path in files), name


# --- scripts, run ---

STUB = """#!/usr/bin/env bash
printf '%s\\0' "$(basename "$0")" "$@" > "$STUB_OUT"
printf '%s' "$MODEL" > "$STUB_OUT.model"
"""


def started(folder: Path, name: str, tmp_path: Path, **variables: str) -> list[str]:
    """The words that launch.sh hands to a program: each is a stand-in that writes them down."""
    programs = tmp_path / "programs"
    programs.mkdir(exist_ok=True)
    for program in ("vllm", "vllm-router", "python3", "trtllm-serve", "mpirun"):
        (programs / program).write_text(STUB)
        (programs / program).chmod(0o755)
    out = tmp_path / "words"
    path = f"{programs}:{os.environ['PATH']}"
    env = {"PATH": path, "STUB_OUT": str(out), "HOST_IP": "10.0.0.1", **variables}
    subprocess.run(["bash", str(folder / "launch.sh"), name], env=env, check=True)
    return out.read_text().split("\0")[:-1]


@pytest.mark.parametrize("plan", CASES)
def test_the_script_starts_every_part(plan: Plan, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    export_plan(plan_set(pareto=(plan,)), folder)
    subprocess.run(["bash", "-n", str(folder / "launch.sh")], check=True)
    for server in servers(plan):
        words = started(folder, server.name, tmp_path)
        if words[0] == "mpirun":
            assert words[1:6] == ["-n", "16", "--npernode", "8", "trtllm-llmapi-launch"]
            words = words[6:]
        check_argv(words)
        assert "meta-llama/Llama-3.3-70B-Instruct" in words
        assert not any("$" in word for word in words)
        assert value(words, "--port") == "8000"
    if "\n  router)" in (folder / "launch.sh").read_text():
        words = started(folder, "router", tmp_path)
        check_argv(words)
        urls = sum(word.startswith("http://") for word in words)
        assert urls == sum(each.replicas for each in plan.pools) or words[0] == "trtllm-serve"


def test_machines_after_the_first_join_it(tmp_path: Path) -> None:
    export_plan(plan_set(pareto=(wide_experts(),)), tmp_path / "out")
    second = {"NODE_RANK": "1", "LEADER": "head"}
    words = started(tmp_path / "out", "h100-sxm", tmp_path, **second)
    assert value(words, "--data-parallel-address") == "head"
    assert value(words, "--data-parallel-start-rank") == "8"
    assert value(words, "--data-parallel-size-local") == "8" and "--headless" in words
    assert "--headless" not in started(tmp_path / "out", "h100-sxm", tmp_path)


def test_stages_over_two_machines_are_told_their_number(tmp_path: Path) -> None:
    export_plan(plan_set(pareto=(of_engine(two_nodes(), "sglang"),)), tmp_path / "out")
    words = started(tmp_path / "out", "h100-sxm", tmp_path, NODE_RANK="1", LEADER="head")
    assert value(words, "--node-rank") == "1" and value(words, "--nnodes") == "2"
    assert value(words, "--dist-init-addr") == "head:20000"


def test_names_cannot_break_out_of_the_script(tmp_path: Path) -> None:
    model = "me/$(touch pwned) `id` }'\"\\ x"
    export_plan(plan_set(model=model, pareto=(gpu_only(),)), tmp_path / "out")
    words = started(tmp_path / "out", "h100-sxm", tmp_path)
    assert words[2] == model == (tmp_path / "words.model").read_text()
    assert not list(tmp_path.rglob("pwned"))
    evil = plan_of("p\nrm -rf x", pool())
    with pytest.raises(UsageError, match="written into a script"):
        export_files(plan_set(), evil)


def test_a_model_that_is_not_known_is_left_to_set(tmp_path: Path) -> None:
    export_plan(plan_set(model="my model 7B", pareto=(gpu_only(),)), tmp_path / "out")
    assert "# Set MODEL" in (tmp_path / "out" / "launch.sh").read_text()
    words = started(tmp_path / "out", "h100-sxm", tmp_path, MODEL="/srv/model")
    assert words[2] == "/srv/model"


def test_what_cannot_be_launched_says_why(tmp_path: Path) -> None:
    export_plan(plan_set(), tmp_path / "out", plan=lpu_only().id)
    command = ["bash", str(tmp_path / "out" / "launch.sh"), "groqrack-v1"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 3 and "no open engine" in done.stderr
    readme = (tmp_path / "out" / "README.txt").read_text()
    assert "No launch line" in readme and "takt chips groqrack-v1" in readme
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {"plan.json", "launch.sh", "README.txt"}


# --- manifests ---


def documents(files: dict[str, str]) -> Iterator[tuple[str, Any]]:
    for name, text in files.items():
        if "/" in name:
            for document in yaml.safe_load_all(text):
                yield name.split("/")[0], document


def containers(document: Any) -> list[Any]:
    """Every container in an object, wherever its pods are."""
    if isinstance(document, dict):
        found = list(document.get("containers") or [])
        if "mainContainer" in document:
            found.append(document["mainContainer"])
        return found + [c for part in document.values() for c in containers(part)]
    if isinstance(document, list):
        return [c for part in document for c in containers(part)]
    return []


@pytest.mark.parametrize("plan", CASES)
def test_manifests_are_what_the_schemas_allow(plan: Plan) -> None:
    files = export_files(plan_set(pareto=(plan,)), plan, settings=Settings(context_tokens=4096))
    found = list(documents(files))
    for _, document in found:
        assert problems(document) == [], document.get("kind")
        for container in containers(document):
            command = container.get("command", [])
            if command[:2] == ["/bin/bash", "-c"]:
                (line,) = re.findall(r"exec (.*)", command[2].replace("\\\n", ""))
                command = [re.sub(r"\$\{.*?\}", "0", word) for word in shlex.split(line)]
            if command:
                check_argv([re.sub(r"\$\((\w+)\)", r"${\1}", word) for word in command])
    stacks = {stack for stack, _ in found}
    assert stacks <= set(STACKS) and (stacks or plan.pools[0].engine == "trtllm")


def test_each_stack_is_exported_for_a_plain_plan() -> None:
    files = export_files(plan_set(), gpu_only())
    assert {stack for stack, _ in documents(files)} == set(STACKS)
    kinds = {document.get("kind") for _, document in documents(files)}
    assert {"Deployment", "InferencePool", "LLMInferenceService", "DynamoGraphDeployment"} <= kinds


def test_the_schemas_catch_a_wrong_field() -> None:
    files = export_files(plan_set(), gpu_only())
    for _, document in documents(files):
        if document.get("kind") in ("Role", "RoleBinding", "ServiceAccount", "ConfigMap"):
            continue
        spec = document.get("spec", document)
        spec["replica"] = 3
        assert problems(document), document.get("kind")


def test_pods_ask_for_all_chips_of_the_plan() -> None:
    for plan in (gpu_only(), disaggregated(), of_engine(two_nodes(), "vllm")):
        asked = 0
        for stack, document in documents(export_files(plan_set(), plan)):
            if stack != "kubernetes" or document["kind"] not in ("Deployment", "LeaderWorkerSet"):
                continue
            spec = document["spec"]
            chips = [
                int(c["resources"]["limits"]["nvidia.com/gpu"])
                for c in containers(document)
                if "resources" in c
            ]
            size = spec.get("leaderWorkerTemplate", {}).get("size", 1)
            asked += spec["replicas"] * size * chips[0] if chips else 0
        assert asked == plan.chips


def test_services_and_routers_find_the_pods_that_answer() -> None:
    plan = disaggregated()
    objects = [d for s, d in documents(export_files(plan_set(), plan)) if s == "kubernetes"]
    pods = [
        d["spec"]["template"]["metadata"]["labels"] for d in objects if d["kind"] == "Deployment"
    ]
    for service in (d for d in objects if d["kind"] == "Service"):
        selector = service["spec"]["selector"].items()
        assert sum(selector <= labels.items() for labels in pods) == 1
    (router,) = (c for d in objects for c in containers(d) if c["name"] == "router")
    at = router["command"].index("--prefill-selector")
    wanted = dict(word.split("=") for word in router["command"][at + 1 : at + 4])
    assert [labels["takt.role"] for labels in pods if wanted.items() <= labels.items()] == [
        "prompt"
    ]


def test_followers_do_not_answer_requests() -> None:
    files = export_files(plan_set(), of_engine(two_nodes(), "vllm"))
    (group,) = (d for _, d in documents(files) if d.get("kind") == "LeaderWorkerSet")
    template = group["spec"]["leaderWorkerTemplate"]
    service = next(d for s, d in documents(files) if s == "kubernetes" and d["kind"] == "Service")
    selector = service["spec"]["selector"].items()
    assert selector <= template["leaderTemplate"]["metadata"]["labels"].items()
    assert not selector <= template["workerTemplate"]["metadata"]["labels"].items()
    assert "--headless" in containers(template["workerTemplate"])[0]["command"][2]


def test_replicas_scale_by_load_where_asked() -> None:
    scaling = Scaling(least=2, target_load=24)
    files = export_files(plan_set(), gpu_only(), stack="kubernetes", scaling=scaling)
    (scaler,) = (d for _, d in documents(files) if d["kind"] == "HorizontalPodAutoscaler")
    assert problems(scaler) == []
    assert (scaler["spec"]["minReplicas"], scaler["spec"]["maxReplicas"]) == (2, 8)
    target = scaler["spec"]["scaleTargetRef"]
    assert target["name"] in {d["metadata"]["name"] for _, d in documents(files)}
    metric = scaler["spec"]["metrics"][0]["pods"]
    assert (
        metric["target"]["averageValue"] == "24" and "requests_running" in metric["metric"]["name"]
    )
    with pytest.raises(UsageError, match="at least 1"):
        Scaling(least=0)


@pytest.mark.parametrize("model", ["7B!", "a" * 200, "Ünïcode/模型", "org/Some.Model_v1"])
def test_names_of_objects_are_what_clusters_take(model: str) -> None:
    plan = plan_of("p", pool(), pool(replicas=2, chips=8, layout=Layout(tp=8)))
    files = export_files(plan_set(model=model), plan)
    names = [d["metadata"]["name"] for _, d in documents(files) if "metadata" in d]
    assert names and all(re.fullmatch(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?", name) for name in names)
    kinds = [(d["kind"], d["metadata"]["name"]) for s, d in documents(files) if s == "kubernetes"]
    assert len(set(kinds)) == len(kinds)


# --- the folder ---


def test_all_plans_of_an_answer_can_be_exported_and_again_byte_for_byte(tmp_path: Path) -> None:
    for fleet in FLEETS:
        plan = fleet()
        first = export_plan(plan_set(), tmp_path / "a", plan=plan.id, force=True)
        second = export_plan(plan_set(), tmp_path / "b", plan=plan.id, force=True)
        assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]
        on_disk = {path for path in (tmp_path / "a").rglob("*") if path.is_file()}
        assert set(first) == on_disk
        assert plan_set_of((tmp_path / "a" / "plan.json").read_bytes()) == plan_set()
    assert not [path for path in tmp_path.iterdir() if path.name not in ("a", "b")]


def test_the_nearest_plan_says_that_it_misses(tmp_path: Path) -> None:
    export_plan(unmet(), tmp_path / "out")
    assert "does not meet the targets" in (tmp_path / "out" / "README.txt").read_text()


def test_nothing_is_overwritten_without_force_and_no_foreign_folder_with_it(tmp_path: Path) -> None:
    export_plan(plan_set(), tmp_path / "out")
    with pytest.raises(UsageError, match="there already"):
        export_plan(plan_set(), tmp_path / "out")
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.txt").write_text("years of work")
    with pytest.raises(UsageError, match="not an export"):
        export_plan(plan_set(), mine, force=True)
    assert (mine / "thesis.txt").read_text() == "years of work"
    with pytest.raises(UsageError, match="no directory"):
        export_plan(plan_set(), tmp_path / "no" / "such")


def test_force_leaves_folders_that_only_look_like_an_export(tmp_path: Path) -> None:
    first, folder = tmp_path / "first", tmp_path / "out"
    export_plan(plan_set(), first)

    def refused(complaint: str) -> None:
        with pytest.raises(UsageError, match=complaint):
            export_plan(plan_set(), folder, force=True)

    folder.mkdir()
    for name in ("launch.sh", "README.txt"):
        (folder / name).write_text("mine")
    (folder / "plan.json").write_text('{"format": "my-plan", "tasks": []}')
    refused("not an export")
    (folder / "plan.json").write_bytes((first / "plan.json").read_bytes())
    (folder / "kubernetes").mkdir()
    (folder / "kubernetes" / "notes.txt").write_text("mine")
    refused("kubernetes/notes.txt in it")
    (folder / "kubernetes" / "notes.txt").unlink()
    (folder / "data").symlink_to(tmp_path)
    refused("data in it")
    (folder / "data").unlink()
    export_plan(plan_set(), folder, force=True)
    assert (folder / "launch.sh").read_bytes() == (first / "launch.sh").read_bytes()
    link = tmp_path / "link"
    link.symlink_to(first)
    with pytest.raises(UsageError, match="not an export"):
        export_plan(plan_set(), link, force=True)
    assert (first / "plan.json").is_file() and link.is_symlink()


def test_a_folder_is_checked_before_there_is_a_plan(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    check_folder(tmp_path / "new")
    with pytest.raises(UsageError, match="no directory"):
        check_folder(tmp_path / "no" / "such")
    with pytest.raises(UsageError, match="not an export"):
        check_folder(tmp_path)
    monkeypatch.setattr("os.access", lambda *_: False)
    with pytest.raises(UsageError, match="can't be written to"):
        check_folder(tmp_path / "new")


@pytest.mark.parametrize(
    ("plan", "words"),
    [
        (gpu_only(), "starts a replica or the router on"),
        (plan_of("one", pool(replicas=1)), "starts a replica on"),
        (plan_of("two", pool(replicas=2, engine="trtllm")), "starts a replica on"),
        (lpu_only(), "starts nothing, and says why"),
    ],
    ids=["router", "one", "trtllm", "none"],
)
def test_the_readme_says_what_the_script_starts(plan: Plan, words: str) -> None:
    files = export_files(plan_set(pareto=(plan,)), plan)
    assert f"- launch.sh: {words}" in files["README.txt"]
    routed = "the router" in words
    assert ("router)" in files["launch.sh"]) == ("_HOSTS" in files["launch.sh"]) == routed


def test_a_failure_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    export_plan(plan_set(), tmp_path / "out")
    before = (tmp_path / "out" / "launch.sh").read_bytes()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "chmod", full)
    with pytest.raises(DataError, match="No space left"):
        export_plan(plan_set(), tmp_path / "out", plan=experts().id, force=True)
    assert (tmp_path / "out" / "launch.sh").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"plan": "8x h100-sxm tp4 fp8 vlm"}, "no plan"),
        ({"stack": "kserv"}, "no stack"),
        ({"engine": "tgi"}, "no engine"),
    ],
)
def test_a_wrong_name_is_an_error_that_helps(options: Any, complaint: str, tmp_path: Path) -> None:
    with pytest.raises(TaktError, match=complaint) as caught:
        export_plan(plan_set(), tmp_path / "out", **options)
    assert caught.value.hint
    assert not (tmp_path / "out").exists()


def test_an_answer_without_plans_has_nothing_to_export(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no plan to export"):
        export_plan(plan_set(pareto=(), others=()), tmp_path / "out")
