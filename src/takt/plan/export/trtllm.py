"""`trtllm-serve` for a pool, the file of options that it reads, and its server before pools of two roles.

The words are TensorRT-LLM's (`arguments/trtllm.toml`, `arguments/trtllm-options.toml`); what they mean: docs/export.md. Knows no files.
"""

import tomllib
from functools import cache
from importlib.resources import files
from math import ceil

import msgspec

from takt.errors import UsageError, did_you_mean

from .command import Command
from .servers import Server
from .settings import PORT, Settings

__all__ = [
    "Options",
    "check_options",
    "disaggregated_options",
    "mpi_words",
    "options_of",
    "trtllm_command",
]

Options = dict[str, "str | int | bool | list[str] | Options"]
_KV = {"fp8": "fp8", "bf16": "auto", "fp16": "auto"}
_LEAST_BLOCK = 8


def trtllm_command(server: Server, settings: Settings, options_file: str) -> Command:
    """One replica. Over several machines MPI starts it, one process a chip."""
    pool, layout = server.pool, server.pool.layout
    chips = layout.tp * layout.dp
    words = ["trtllm-serve", "serve", "${MODEL}", "--host", "0.0.0.0", "--port", "${PORT}"]
    words += ["--tp_size", str(chips)]
    if layout.pp > 1:
        words += ["--pp_size", str(layout.pp)]
    if layout.ep > 1:
        words += ["--ep_size", str(layout.ep)]
    # With attention copied, each of its groups schedules for itself.
    seqs = ceil(pool.max_seqs / layout.dp)
    tokens = max(ceil(pool.max_step_tokens / layout.dp), seqs)
    words += ["--max_batch_size", str(seqs), "--max_num_tokens", str(tokens)]
    if settings.context_tokens is not None:
        words += ["--max_seq_len", str(settings.context_tokens)]
    if server.nodes > 1:
        words += ["--gpus_per_node", str(server.node_chips)]
    words += ["--enable_chunked_prefill", "--config", options_file]
    return Command(words=tuple(words))


def mpi_words(server: Server) -> tuple[str, ...]:
    """What goes before the command of a replica over several machines; nothing for one."""
    if server.nodes == 1:
        return ()
    each = str(server.node_chips)
    return ("mpirun", "-n", str(server.pool.chips), "--npernode", each, "trtllm-llmapi-launch")


def options_of(server: Server, settings: Settings) -> Options:
    """What the command line can't say, for the file of `--config`."""
    pool = server.pool
    cache_config: Options = {"enable_block_reuse": pool.prefix_caching}
    if pool.kv in _KV:
        cache_config["dtype"] = _KV[pool.kv]
    if pool.block_tokens >= _LEAST_BLOCK and pool.block_tokens & (pool.block_tokens - 1) == 0:
        cache_config["tokens_per_block"] = pool.block_tokens
    options: Options = {"kv_cache_config": cache_config}
    if pool.layout.dp > 1:
        options["enable_attention_dp"] = True
    if pool.role in ("prompt", "decode"):
        options["cache_transceiver_config"] = {"backend": "NIXL"}
    if pool.role == "prompt":
        options["disable_overlap_scheduler"] = True  # servers of prompts alone do not know it
    if pool.draft_tokens and settings.own_drafts:
        options["speculative_config"] = {
            "decoding_type": "MTP",
            "num_nextn_predict_layers": pool.draft_tokens,
        }
    elif pool.draft_tokens:
        options["speculative_config"] = {
            "decoding_type": "NGram",
            "max_draft_len": pool.draft_tokens,
        }
    check_options(options)
    return options


def disaggregated_options(prompts: list[str], decodes: list[str]) -> Options:
    """The file of `trtllm-serve disaggregated`: who reads prompts, who generates (host:port)."""
    return {
        "hostname": "0.0.0.0",
        "port": PORT,
        "backend": "pytorch",
        "context_servers": {"num_instances": len(prompts), "urls": prompts},
        "generation_servers": {"num_instances": len(decodes), "urls": decodes},
    }


def check_options(options: Options, part: str = "options") -> None:
    """Raises UsageError for an option that TensorRT-LLM has not, or of the wrong type."""
    known = _known()[part]
    for name, value in options.items():
        if name not in known:
            raise UsageError(
                f"TensorRT-LLM has no option '{name}' in {part}", hint=did_you_mean(name, known)
            )
        expected = known[name]
        if isinstance(value, dict):
            check_options(value, expected)
        elif "|" in expected and value not in expected.split("|"):
            raise UsageError(f"option {name} is {value!r}, expected one of {expected}")
        elif expected in ("bool", "int", "str") and type(value).__name__ != expected:
            raise UsageError(f"option {name} is {value!r}, expected {expected}")


@cache
def _known() -> dict[str, dict[str, str]]:
    path = files("takt.plan.export").joinpath("arguments/trtllm-options.toml")
    rows = tomllib.loads(path.read_text(encoding="utf-8"))
    return msgspec.convert(rows["parts"], dict[str, dict[str, str]])
