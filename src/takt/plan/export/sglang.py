"""`python3 -m sglang.launch_server` for a pool.

The words are SGLang's (`arguments/sglang.toml`); what they mean: docs/export.md. Knows no files.
"""

from .command import Command
from .servers import Server, quantised_on_load
from .settings import BOOTSTRAP_PORT, RENDEZVOUS_PORT, Settings

__all__ = ["drafts", "engine_options", "sglang_command"]

_KV = {"fp8": "fp8_e4m3", "bf16": "auto"}
_MODES = {"prompt": "prefill", "decode": "decode"}


def sglang_command(server: Server, settings: Settings) -> Command:
    """One machine of one replica; all its machines start alike."""
    words = ["python3", "-m", "sglang.launch_server", "--model-path", "${MODEL}"]
    words += ["--host", "0.0.0.0", "--port", "${PORT}", "--enable-metrics"]
    words += engine_options(server, settings)
    if server.nodes > 1:
        words += ["--nnodes", str(server.nodes), "--node-rank", "${NODE_RANK}"]
        words += ["--dist-init-addr", f"${{LEADER}}:{RENDEZVOUS_PORT}"]
    return Command(words=tuple(words))


def engine_options(server: Server, settings: Settings) -> list[str]:
    """Options of the engine itself, those of a single machine."""
    pool, layout = server.pool, server.pool.layout
    # Its tensor parallelism counts the chips of all groups of attention; limits are of the replica as a whole.
    words = ["--tp-size", str(layout.tp * layout.dp)]
    if layout.pp > 1:
        words += ["--pp-size", str(layout.pp)]
    if layout.dp > 1:
        words += ["--attn-dp-size", str(layout.dp)]
    if layout.ep > 1:
        words += ["--ep-size", str(layout.ep)]
    if quantised_on_load(pool):
        words += ["--quantization", "fp8"]
    if pool.kv in _KV:
        words += ["--kv-cache-dtype", _KV[pool.kv]]
    words += ["--max-running-requests", str(pool.max_seqs)]
    # It wants whole blocks in each group's share of a chunk.
    blocks = pool.block_tokens * layout.dp
    chunk = max(blocks, pool.max_step_tokens // blocks * blocks)
    words += ["--chunked-prefill-size", str(chunk)]
    if settings.context_tokens is not None:
        words += ["--context-length", str(settings.context_tokens)]
    words += ["--page-size", str(pool.block_tokens)]
    if not pool.prefix_caching:
        words += ["--disable-radix-cache"]
    if pool.draft_tokens and drafts(server, settings):
        words += _drafts(pool.draft_tokens, settings.own_drafts)
    if pool.role in _MODES:
        words += ["--disaggregation-mode", _MODES[pool.role]]
        words += ["--disaggregation-transfer-backend", "nixl"]
    if pool.role == "prompt":
        words += ["--disaggregation-bootstrap-port", str(BOOTSTRAP_PORT)]
    return words


def drafts(server: Server, settings: Settings) -> bool:
    """Whether it can draft tokens here: from prompts not with attention copied (its `_handle_ngram` refuses)."""
    return settings.own_drafts or server.pool.layout.dp == 1


def _drafts(tokens: int, own: bool) -> list[str]:
    """Drafted tokens; it counts the token that is sure among those that it verifies."""
    if not own:
        return [
            "--speculative-algorithm",
            "NGRAM",
            "--speculative-num-draft-tokens",
            str(tokens + 1),
        ]
    words = ["--speculative-algorithm", "NEXTN", "--speculative-num-steps", str(tokens)]
    words += ["--speculative-eagle-topk", "1"]
    return [*words, "--speculative-num-draft-tokens", str(tokens + 1)]
