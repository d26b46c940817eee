"""How fast a model should be on this machine: bytes over bandwidth, operations over rate, and the engine's own time a layer.

    time of weights   = the longer of their bytes ÷ read rate and operations ÷ matrix rate
    time of a token   = time of weights + bytes of the cache ÷ read rate + layers × time of a layer without work
    time of a prompt  = time of weights, with the operations of all its tokens, + layers × the same

The last term is measured too, on a model with next to no weights: dozens of tiny operations a layer, each of which all
threads wait for. Knows no process and no file format beyond a file's size.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from takt.models import SHAPES, Model, ModelShape, random_model

from .engine import HostRequest, run_engine
from .gguf_out import write_gguf
from .machine import HostMachine

__all__ = ["HostPrediction", "HostWork", "layer_time_s", "predict", "work_of"]

KV_BYTES = 2  # the engine keeps keys and values in F16
HOLLOW_LAYERS = 8
HOLLOW_TOKENS = 24
HOLLOW_ROUNDS = 5  # the first finds caches cold


@dataclass(frozen=True, slots=True, kw_only=True)
class HostWork:
    """What a step reads and computes. None where the file's metadata are the engine's business only.

    `weight_bytes` are read for every token, `kv_bytes` of the cache for every position before it; `weights` counts
    numbers that a token is multiplied with.
    """

    weight_bytes: int
    kv_bytes: int | None
    weights: int | None
    n_layers: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class HostPrediction:
    """Seconds until the first token (None if unknown) and for each later one; shares of the latter; what they rest on."""

    prompt_s: float | None
    token_s: float
    weights_s: float
    cache_s: float
    layers_s: float
    basis: tuple[str, ...]


def work_of(shape: ModelShape | None, file_bytes: int) -> HostWork:
    """From a shape and the size of its GGUF file; with no shape from the size alone.

    A table that is only looked up is not read: its share of the weights is taken off the file.
    """
    if shape is None:
        return HostWork(weight_bytes=file_bytes, kv_bytes=None, weights=None, n_layers=None)
    active = shape.n_active_parameters
    return HostWork(
        weight_bytes=file_bytes * active // shape.n_parameters,
        kv_bytes=KV_BYTES * sum(map(shape.kv_elements_per_token, range(shape.n_layers))),
        weights=active,
        n_layers=shape.n_layers,
    )


def predict(
    work: HostWork, machine: HostMachine, layer_s: float, *, prompt_tokens: int, tokens: int
) -> HostPrediction:
    """Times of a prompt and of the mean of `tokens` tokens after it."""
    read_s = work.weight_bytes / machine.read_bytes_per_s
    one_s = 2 * (work.weights or 0) / machine.matrix_ops_per_s
    weights_s = max(read_s, one_s)
    # The second token is computed with the whole prompt and the first token in the cache.
    mean_positions = prompt_tokens + max(tokens, 2) / 2
    cache_s = (work.kv_bytes or 0) * mean_positions / machine.read_bytes_per_s
    layers_s = (work.n_layers or 0) * layer_s
    known = work.weights is not None
    prompt_s = max(read_s, one_s * prompt_tokens) + layers_s if known else None
    basis = ["measured: read rate", "roofline"]
    if known:
        basis += ["measured: matrix rate", "measured: engine's time a layer"]
    return HostPrediction(
        prompt_s=prompt_s,
        token_s=weights_s + cache_s + layers_s,
        weights_s=weights_s,
        cache_s=cache_s,
        layers_s=layers_s,
        basis=tuple(basis),
    )


def layer_time_s(threads: int) -> float:
    """Seconds the engine takes for a layer of a model whose weights cost nothing. Raises as `run_engine` does."""
    with TemporaryDirectory(prefix="takt-") as folder:
        path = Path(folder) / "hollow.gguf"
        write_gguf(_hollow(), path)
        request = HostRequest(
            path=path,
            prompt=(1, 2, 3, 4),
            max_tokens=HOLLOW_TOKENS,
            context=HOLLOW_TOKENS + 8,
            threads=threads,
            rounds=HOLLOW_ROUNDS,
        )
        times = [r.token_s for r in run_engine(request).rounds if r.token_s is not None]
    return min(times) / HOLLOW_LAYERS


def _hollow() -> Model:
    """Many layers with next to nothing in them."""
    shape = replace(
        SHAPES["stories260k"],
        name="hollow",
        n_layers=HOLLOW_LAYERS,
        dim=32,
        n_heads=1,
        n_kv_heads=1,
        head_dim=32,
        hidden_dim=32,
        vocab_size=32,
        max_context=128,
        windows=(None,) * HOLLOW_LAYERS,
        attention_scale=32**-0.5,
    )
    return random_model(shape)
