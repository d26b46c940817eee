"""`vllm serve` for a pool, and the router before it.

The words are vLLM's (`arguments/vllm.toml`); what they mean: docs/export.md. Knows no files.
"""

import json
from math import ceil

from .command import Command
from .servers import Server, quantised_on_load
from .settings import RENDEZVOUS_PORT, Settings

__all__ = ["engine_options", "transfer_options", "vllm_command"]

_BLOCK = 16  # its caches have blocks of this many tokens or multiples, on GPUs
_KV = {"fp8": "fp8", "bf16": "auto", "fp16": "float16"}
_ROLES = {"prompt": "kv_producer", "decode": "kv_consumer"}


def vllm_command(server: Server, settings: Settings, *, follower: bool = False) -> Command:
    """One machine of one replica; `follower`: a machine of a replica after its first."""
    words = ["vllm", "serve", "${MODEL}", "--host", "0.0.0.0", "--port", "${PORT}"]
    words += engine_options(server, settings)
    words += _machines(server, follower)
    words += transfer_options(server)
    if server.pool.role == "both":
        return Command(words=tuple(words))
    host = (("VLLM_NIXL_SIDE_CHANNEL_HOST", "${HOST_IP}"),)  # else others can't reach its caches
    return Command(words=tuple(words), environment=host)


def transfer_options(server: Server) -> list[str]:
    """How caches go from pool to pool; nothing for a pool that does both."""
    role = _ROLES.get(server.pool.role)
    if role is None:
        return []
    transfer = {"kv_connector": "NixlConnector", "kv_role": role}
    return ["--kv-transfer-config", json.dumps(transfer)]


def engine_options(server: Server, settings: Settings) -> list[str]:
    """Options of the engine itself, those of a single machine."""
    pool, layout = server.pool, server.pool.layout
    words = ["--tensor-parallel-size", str(layout.tp)]
    if layout.pp > 1:
        words += ["--pipeline-parallel-size", str(layout.pp)]
    if layout.dp > 1:
        words += ["--data-parallel-size", str(layout.dp)]
    if layout.ep > 1:
        words += ["--enable-expert-parallel"]
    if quantised_on_load(pool):
        words += ["--quantization", "fp8"]
    if pool.kv in _KV:
        words += ["--kv-cache-dtype", _KV[pool.kv]]
    # Each group of data parallelism schedules for itself.
    seqs = ceil(pool.max_seqs / layout.dp)
    tokens = max(ceil(pool.max_step_tokens / layout.dp), seqs)
    words += ["--max-num-seqs", str(seqs), "--max-num-batched-tokens", str(tokens)]
    if settings.context_tokens is not None:
        words += ["--max-model-len", str(settings.context_tokens)]
    if pool.kind == "gpu" and pool.block_tokens % _BLOCK == 0:
        words += ["--block-size", str(pool.block_tokens)]
    words += ["--enable-prefix-caching" if pool.prefix_caching else "--no-enable-prefix-caching"]
    if pool.draft_tokens:
        drafts = {
            "method": "mtp" if settings.own_drafts else "ngram",
            "num_speculative_tokens": pool.draft_tokens,
        }
        words += ["--speculative-config", json.dumps(drafts)]
    return words


def _machines(server: Server, follower: bool) -> list[str]:
    """How the machines of a replica find each other; nothing where there is one only."""
    layout = server.pool.layout
    if server.nodes == 1:
        return []
    if layout.dp % server.nodes == 0:
        local = layout.dp // server.nodes
        words = ["--data-parallel-size-local", str(local), "--data-parallel-address", "${LEADER}"]
        words += ["--data-parallel-rpc-port", str(RENDEZVOUS_PORT)]
        start = ["--data-parallel-start-rank", "${START_RANK}", "--headless"]
        return [*words, *start] if follower else words
    words = ["--nnodes", str(server.nodes), "--node-rank", "${NODE_RANK}"]
    words += ["--master-addr", "${LEADER}", "--master-port", str(RENDEZVOUS_PORT)]
    return [*words, "--headless"] if follower else words
