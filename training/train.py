#!/usr/bin/env python3
"""Train Takt's default model: a small Llama-shaped decoder that completes Python code.

The map, top to bottom:

    Options     every knob, with its default
    corpus      the standard library's own source files, split into training and held-out *files*
    tokenizer   byte-level BPE, trained on the training files only
    model       a plain Llama decoder whose parameter names are Hugging Face's own
    schedule    warm-up, then a cosine down to a fiftieth of the peak
    evaluate    nats per token and bits per byte on the held-out files
    export      config.json, model.safetensors (float16), tokenizer.json, each replaced atomically
    train       the loop: step, report, evaluate, checkpoint, export

It knows nothing of the LPU or of the `takt` package: what it leaves behind is an ordinary Hugging
Face directory, and any tool that reads `LlamaForCausalLM` reads it.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import random
import sys
import sysconfig
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import Tensor, nn
from torch.nn import functional

END_OF_TEXT = "<|endoftext|>"
END_OF_TEXT_ID = 0
SKIPPED_DIRS = frozenset(
    {"test", "tests", "idle_test", "lib2to3", "site-packages", "encodings", "pydoc_data"}
    | {"__pycache__", "__phello__"}
)
SKIPPED_FILES = frozenset({"entities.py"})  # tables of names, not code
GENERATED_PREFIX = "_sysconfigdata"  # written by the build, holds one machine's paths
# Where the tokenizer may not merge across. A newline and an indentation are pieces of their own, so
# that a prompt which ends in either is cut as the same text was in training; the usual pattern glues
# them to what follows. Names keep their underscores.
WORDS = r"\n| {2,}| ?[\p{L}_]+| ?\p{N}{1,3}| ?[^\s\p{L}\p{N}_]+|\s"
LAST_LR_SHARE = 0.02  # of the peak learning rate, at the end of the cosine
FP16_BENIGN_MAX = 1e3  # far below float16's 65504, so that no sum of products comes near it


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """Shape, budget and optimiser of one run. Widths are multiples of 320, the LPU's lane count."""

    vocab_size: int = 1920
    dim: int = 320
    n_layers: int = 3
    n_heads: int = 5
    n_kv_heads: int = 1
    hidden_dim: int = 640
    context_tokens: int = 512
    rope_theta: float = 10000.0
    rms_eps: float = 1e-5

    steps: int = 100_000
    minutes: float = 60.0
    batch: int = 8
    peak_lr: float = 4e-3
    warmup_steps: int = 200
    weight_decay: float = 0.1
    clip: float = 1.0
    eval_every: int = 250
    held_out: float = 0.03
    seed: int = 320
    threads: int = 1
    bf16: bool = False

    @property
    def head_dim(self) -> int:
        """Width of one attention head; `n_heads` of them make `dim`."""
        return self.dim // self.n_heads


# ---------------------------------------------------------------------------------- corpus


@dataclass(frozen=True, slots=True, kw_only=True)
class Corpus:
    """Texts of whole files: no file has a part in both halves."""

    train: list[str]
    held_out: list[str]
    held_out_names: list[str]


def source_files(root: Path) -> list[Path]:
    """Every `.py` file under `root` that people wrote and that is not a test, in a stable order."""
    found = []
    for path in sorted(root.rglob("*.py")):
        folders = path.relative_to(root).parts[:-1]
        skipped = path.name in SKIPPED_FILES or path.name.startswith(GENERATED_PREFIX)
        if not skipped and SKIPPED_DIRS.isdisjoint(folders):
            found.append(path)
    return found


def read_corpus(root: Path, held_out: float, seed: int) -> Corpus:
    """Read the files under `root`; a share `held_out` of them, drawn by `seed`, is set aside.

    Raises SystemExit when the folder has too few files to set one aside.
    """
    paths = source_files(root)
    n_held_out = max(1, round(len(paths) * held_out))
    if len(paths) <= n_held_out:
        raise SystemExit(f"{root}: {len(paths)} Python files found, at least 2 are needed")
    aside = set(random.Random(seed).sample(paths, n_held_out))
    texts = {path: path.read_text(encoding="utf-8", errors="replace") for path in paths}
    return Corpus(
        train=[text for path, text in texts.items() if path not in aside],
        held_out=[text for path, text in texts.items() if path in aside],
        held_out_names=[path.relative_to(root).as_posix() for path in paths if path in aside],
    )


def n_bytes(texts: list[str]) -> int:
    """Size of `texts` as UTF-8, in bytes."""
    return sum(len(text.encode()) for text in texts)


# ------------------------------------------------------------------------------- tokenizer


def train_tokenizer(texts: list[str], vocab_size: int) -> Tokenizer:
    """A byte-level BPE of at most `vocab_size` pieces; any byte sequence of text round-trips."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(WORDS), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[END_OF_TEXT],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def encode(tokenizer: Tokenizer, texts: list[str]) -> Tensor:
    """One int64 stream: the end-of-text token, then a file, again and again."""
    ids: list[int] = []
    for encoding in tokenizer.encode_batch(texts):
        ids += [END_OF_TEXT_ID, *encoding.ids]
    return torch.tensor(ids, dtype=torch.int64)


def batch_at(stream: Tensor, step: int, options: Options) -> tuple[Tensor, Tensor]:
    """Inputs and targets `[batch, context]` of one step, a function of the step and the seed only.

    An epoch cuts the stream into windows at a phase of its own and shuffles them, so every token is
    seen once an epoch, in a different window each time, and resuming needs no sampler state.
    """
    context = options.context_tokens
    n_windows = (len(stream) - 1 - context) // context
    if n_windows < 1:
        raise SystemExit(f"the text has {len(stream)} tokens, fewer than two windows of {context}")
    batch = min(options.batch, n_windows)
    epoch, index = divmod(step, n_windows // batch)
    generator = torch.Generator().manual_seed(options.seed * 1_000_003 + epoch)
    phase = int(torch.randint(context, (1,), generator=generator))
    order = torch.randperm(n_windows, generator=generator)[index * batch : (index + 1) * batch]
    windows = (order * context + phase)[:, None] + torch.arange(context)
    return stream[windows], stream[windows + 1]


# ----------------------------------------------------------------------------------- model


def rope_tables(options: Options) -> tuple[Tensor, Tensor]:
    """Cosines and sines `[context, head_dim]`, halves repeated as Hugging Face's Llama has them."""
    exponents = torch.arange(0, options.head_dim, 2) / options.head_dim
    frequencies = options.rope_theta ** -exponents.float()
    angles = torch.outer(torch.arange(options.context_tokens).float(), frequencies)
    angles = torch.cat([angles, angles], dim=-1)
    return angles.cos(), angles.sin()


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary position embedding of `x` `[batch, heads, tokens, head_dim]`."""
    low, high = x.chunk(2, dim=-1)
    return x * cos + torch.cat([-high, low], dim=-1) * sin


class Attention(nn.Module):
    """Causal self-attention with rotary positions and grouped key/value heads."""

    def __init__(self, options: Options) -> None:
        super().__init__()
        self.n_kv_heads, self.head_dim = options.n_kv_heads, options.head_dim
        kv_dim = options.n_kv_heads * options.head_dim
        self.q_proj = nn.Linear(options.dim, options.dim, bias=False)
        self.k_proj = nn.Linear(options.dim, kv_dim, bias=False)
        self.v_proj = nn.Linear(options.dim, kv_dim, bias=False)
        self.o_proj = nn.Linear(options.dim, options.dim, bias=False)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, future: Tensor) -> Tensor:
        """`[batch, tokens, dim]` to the same; `future` `[tokens, tokens]` is -inf above 0."""
        n_batch, n_tokens, dim = x.shape
        per_head = (n_batch, n_tokens, -1, self.head_dim)
        query = rotate(self.q_proj(x).view(per_head).transpose(1, 2), cos, sin)
        key = rotate(self.k_proj(x).view(per_head).transpose(1, 2), cos, sin)
        value = self.v_proj(x).view(per_head).transpose(1, 2)
        # The query heads that share a key head are laid one after another along the tokens. Plain
        # matrix products are faster here, in bfloat16 on a CPU, than the fused attention kernel.
        query = query.reshape(n_batch, self.n_kv_heads, -1, self.head_dim)
        scores = query @ key.transpose(-1, -2) * self.head_dim**-0.5
        scores = scores.view(n_batch, -1, n_tokens, n_tokens) + future.to(scores.dtype)
        shares = scores.softmax(-1).view(n_batch, self.n_kv_heads, -1, n_tokens)
        mixed = (shares @ value.to(shares.dtype)).view(n_batch, -1, n_tokens, self.head_dim)
        out: Tensor = self.o_proj(mixed.transpose(1, 2).reshape(n_batch, n_tokens, dim))
        return out


class FeedForward(nn.Module):
    """SwiGLU."""

    def __init__(self, options: Options) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(options.dim, options.hidden_dim, bias=False)
        self.up_proj = nn.Linear(options.dim, options.hidden_dim, bias=False)
        self.down_proj = nn.Linear(options.hidden_dim, options.dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """`[batch, tokens, dim]` to the same."""
        out: Tensor = self.down_proj(functional.silu(self.gate_proj(x)) * self.up_proj(x))
        return out


class Layer(nn.Module):
    """One pre-norm decoder layer."""

    def __init__(self, options: Options) -> None:
        super().__init__()
        self.input_layernorm = nn.RMSNorm(options.dim, eps=options.rms_eps)
        self.self_attn = Attention(options)
        self.post_attention_layernorm = nn.RMSNorm(options.dim, eps=options.rms_eps)
        self.mlp = FeedForward(options)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, future: Tensor) -> Tensor:
        """`[batch, tokens, dim]` to the same."""
        x = x + self.self_attn(self.input_layernorm(x), cos, sin, future)
        out: Tensor = x + self.mlp(self.post_attention_layernorm(x))
        return out


class Decoder(nn.Module):
    """The `model.` half of LlamaForCausalLM; the output matrix is the embedding (tied)."""

    cos: Tensor
    sin: Tensor
    future: Tensor

    def __init__(self, options: Options) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(options.vocab_size, options.dim)
        self.layers = nn.ModuleList(Layer(options) for _ in range(options.n_layers))
        self.norm = nn.RMSNorm(options.dim, eps=options.rms_eps)
        cos, sin = rope_tables(options)
        self.register_buffer("cos", cos, persistent=False)
        self.register_buffer("sin", sin, persistent=False)
        forbidden = torch.full((options.context_tokens, options.context_tokens), -torch.inf)
        self.register_buffer("future", forbidden.triu(1), persistent=False)
        self._initialise(options.n_layers)

    def _initialise(self, n_layers: int) -> None:
        """Normal weights; what writes to the residual stream starts smaller, by its depth."""
        for name, weight in self.named_parameters():
            if weight.dim() == 2:
                writes_residual = name.endswith(("o_proj.weight", "down_proj.weight"))
                std = 0.02 / math.sqrt(2 * n_layers) if writes_residual else 0.02
                nn.init.normal_(weight, std=std)

    def forward(self, ids: Tensor) -> Tensor:
        """Token ids `[batch, tokens]` to logits `[batch, tokens, vocab]`."""
        n_tokens = ids.shape[1]
        cos, sin = self.cos[:n_tokens], self.sin[:n_tokens]
        future = self.future[:n_tokens, :n_tokens]
        x = self.embed_tokens(ids)
        for layer in self.layers:
            x = layer(x, cos, sin, future)
        return functional.linear(self.norm(x), self.embed_tokens.weight)


def mean_loss(model: nn.Module, inputs: Tensor, targets: Tensor, bf16: bool) -> Tensor:
    """Cross entropy in nats per token, a float32 scalar."""
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16):
        logits = model(inputs)
    return functional.cross_entropy(logits.float().flatten(0, 1), targets.flatten())


# -------------------------------------------------------------------------------- training


def make_optimizer(model: nn.Module, options: Options) -> torch.optim.AdamW:
    """AdamW that decays matrices only, never norms."""
    matrices = [p for p in model.parameters() if p.dim() >= 2]
    vectors = [p for p in model.parameters() if p.dim() < 2]
    groups = [
        {"params": matrices, "weight_decay": options.weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=options.peak_lr, betas=(0.9, 0.95), fused=True)


def learning_rate(step: int, progress: float, options: Options) -> float:
    """Linear warm-up by steps, then a cosine by `progress` (0..1) down to a fiftieth of the peak."""
    warmup = min(1.0, (step + 1) / options.warmup_steps)
    cosine = 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
    return options.peak_lr * warmup * (LAST_LR_SHARE + (1 - LAST_LR_SHARE) * cosine)


@torch.no_grad()
def evaluate(model: nn.Module, stream: Tensor, options: Options) -> float:
    """Nats per token over the whole of `stream`, in windows of the context that do not overlap."""
    context = options.context_tokens
    total, n_tokens = 0.0, 0
    for start in range(0, len(stream) - 1, context * options.batch):
        piece = stream[start : start + context * options.batch + 1]
        n_whole = (len(piece) - 1) // context * context
        for low, high, width in ((0, n_whole, context), (n_whole, len(piece) - 1, 0)):
            if high > low:
                inputs = piece[low:high].view(-1, width or high - low)
                targets = piece[low + 1 : high + 1].view_as(inputs)
                total += float(mean_loss(model, inputs, targets, options.bf16)) * (high - low)
                n_tokens += high - low
    return total / n_tokens


# ---------------------------------------------------------------------------------- export


def replace_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Call `write(temporary)` beside `path`, then rename it over `path`."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    write(temporary)
    temporary.chmod(0o644)
    temporary.replace(path)


def float16_tensors(model: Decoder) -> dict[str, Tensor]:
    """The weights under Hugging Face's names, in float16.

    Raises SystemExit when one is not finite or too large to be safe in float16 arithmetic.
    """
    tensors = {}
    for name, weight in model.state_dict().items():
        if not bool(weight.isfinite().all()) or float(weight.abs().max()) >= FP16_BENIGN_MAX:
            raise SystemExit(f"{name}: not finite, or beyond {FP16_BENIGN_MAX:g}; nothing exported")
        tensors[f"model.{name}"] = weight.to(torch.float16).contiguous()
    return tensors


@torch.no_grad()
def largest_activation(model: nn.Module, inputs: Tensor) -> float:
    """Largest magnitude that any module puts out on `inputs` `[batch, tokens]`, in float32."""
    largest = 0.0

    def look(_module: nn.Module, _inputs: object, output: Tensor) -> None:
        nonlocal largest
        largest = max(largest, float(output.abs().max()))

    hooks = [module.register_forward_hook(look) for module in model.modules()]
    model(inputs)
    for hook in hooks:
        hook.remove()
    return largest


def hugging_face_config(options: Options) -> dict[str, object]:
    """The `config.json` of a LlamaForCausalLM with this shape."""
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": options.vocab_size,
        "hidden_size": options.dim,
        "intermediate_size": options.hidden_dim,
        "num_hidden_layers": options.n_layers,
        "num_attention_heads": options.n_heads,
        "num_key_value_heads": options.n_kv_heads,
        "head_dim": options.head_dim,
        "max_position_embeddings": options.context_tokens,
        "rope_theta": options.rope_theta,
        "rope_scaling": None,
        "rms_norm_eps": options.rms_eps,
        "hidden_act": "silu",
        "attention_bias": False,
        "mlp_bias": False,
        "tie_word_embeddings": True,
        "bos_token_id": END_OF_TEXT_ID,
        "eos_token_id": END_OF_TEXT_ID,
        "torch_dtype": "float16",
    }


def export(folder: Path, model: Decoder, tokenizer: Tokenizer, options: Options) -> None:
    """Write the Hugging Face directory; a reader never sees half a file."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = float16_tensors(model)
    config = json.dumps(hugging_face_config(options), indent=2) + "\n"
    replace_atomically(folder / "config.json", lambda path: path.write_text(config))
    replace_atomically(folder / "tokenizer.json", lambda path: tokenizer.save(str(path)))
    replace_atomically(
        folder / "model.safetensors",
        lambda path: save_file(tensors, path, metadata={"format": "pt"}),
    )


def start_from(folder: Path, model: Decoder, tokenizer: Tokenizer) -> None:
    """Load an exported directory of the same widths into `model`, whatever its tokenizer.

    A piece that the other tokenizer lacks starts as the mean of the pieces that spell it there.
    """
    loaded = load_file(folder / "model.safetensors")
    weights = {name.removeprefix("model."): tensor.float() for name, tensor in loaded.items()}
    theirs, rows = Tokenizer.from_file(str(folder / "tokenizer.json")), []
    for index in range(tokenizer.get_vocab_size()):
        known = theirs.token_to_id(str(tokenizer.id_to_token(index)))
        text = tokenizer.decode([index], skip_special_tokens=False)
        spelled = theirs.encode(text).ids if known is None else [known]
        rows.append(weights["embed_tokens.weight"][spelled].mean(0))
    model.load_state_dict(weights | {"embed_tokens.weight": torch.stack(rows)})


# ------------------------------------------------------------------------------------ loop


@dataclass(slots=True, kw_only=True)
class Run:
    """Everything that changes while training: what a checkpoint holds."""

    model: Decoder
    optimizer: torch.optim.Optimizer
    step: int = 0
    elapsed_s: float = 0.0

    def save(self, path: Path) -> None:
        """Checkpoint to `path`, atomically."""
        state = {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "step": self.step,
            "elapsed_s": self.elapsed_s,
        }
        replace_atomically(path, lambda temporary: torch.save(state, temporary))

    def load(self, path: Path) -> None:
        """Continue from a checkpoint of the same shape."""
        state = torch.load(path, weights_only=True)
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step, self.elapsed_s = state["step"], state["elapsed_s"]

    def progress(self, options: Options) -> float:
        """Share of the budget used, 0..1: of the steps or of the minutes, whichever ends first."""
        return max(self.step / options.steps, self.elapsed_s / (60 * options.minutes))


def train_one_step(run: Run, stream: Tensor, options: Options) -> float:
    """One optimiser step; returns its training loss in nats per token."""
    rate = learning_rate(run.step, run.progress(options), options)
    for group in run.optimizer.param_groups:
        group["lr"] = rate
    inputs, targets = batch_at(stream, run.step, options)
    loss = mean_loss(run.model, inputs, targets, options.bf16)
    torch.autograd.backward(loss)
    nn.utils.clip_grad_norm_(run.model.parameters(), options.clip)
    run.optimizer.step()
    run.optimizer.zero_grad(set_to_none=True)
    run.step += 1
    return float(loss.detach())


def bits_per_byte(nats_per_token: float, n_tokens: int, size_bytes: int) -> float:
    """Loss per byte of text, comparable between tokenizers."""
    return nats_per_token * n_tokens / size_bytes / math.log(2)


@dataclass(frozen=True, slots=True, kw_only=True)
class Data:
    """The corpus as the loop sees it."""

    corpus: Corpus
    tokenizer: Tokenizer
    train: Tensor
    held_out: Tensor


def prepare(root: Path, options: Options, tokenizer_path: Path) -> Data:
    """Read the corpus and encode it, training the tokenizer unless `tokenizer_path` has one."""
    corpus = read_corpus(root, options.held_out, options.seed)
    if tokenizer_path.exists():
        tokenizer = Tokenizer.from_file(str(tokenizer_path))
    else:
        tokenizer = train_tokenizer(corpus.train, options.vocab_size)
        replace_atomically(tokenizer_path, lambda path: tokenizer.save(str(path)))
    train, held_out = encode(tokenizer, corpus.train), encode(tokenizer, corpus.held_out)
    say(
        f"python {platform.python_version()} {root.name}: "
        f"train {len(corpus.train)} files {n_bytes(corpus.train)} bytes {len(train)} tokens, "
        f"held out {len(corpus.held_out)} files {n_bytes(corpus.held_out)} bytes "
        f"{len(held_out)} tokens; vocabulary {tokenizer.get_vocab_size()}"
    )
    return Data(corpus=corpus, tokenizer=tokenizer, train=train, held_out=held_out)


def say(line: str) -> None:
    """Progress goes to stderr, so that stdout stays the result."""
    print(line, file=sys.stderr, flush=True)


def report(run: Run, data: Data, options: Options) -> dict[str, float]:
    """Evaluate and say so; the figures that the model card quotes."""
    nats = evaluate(run.model, data.held_out, options)
    bits = bits_per_byte(nats, len(data.held_out), n_bytes(data.corpus.held_out))
    figures = {
        "step": run.step,
        "train_tokens": run.step * options.batch * options.context_tokens,
        "minutes": round(run.elapsed_s / 60, 2),
        "held_out_nats_per_token": round(nats, 4),
        "held_out_bits_per_byte": round(bits, 4),
    }
    say("eval " + " ".join(f"{key} {value}" for key, value in figures.items()))
    return figures


def loop(run: Run, data: Data, options: Options, work: Path, out: Path) -> None:
    """Train until the budget is used, exporting and checkpointing at every evaluation."""
    say_every, shown_step, shown_s = 50, run.step, run.elapsed_s
    while run.progress(options) < 1:
        began = time.monotonic()
        loss = train_one_step(run, data.train, options)
        run.elapsed_s += time.monotonic() - began
        if run.step % say_every == 0:
            n_tokens = (run.step - shown_step) * options.batch * options.context_tokens
            rate = n_tokens / (run.elapsed_s - shown_s)
            say(
                f"step {run.step} loss {loss:.3f} {rate:.0f} tokens/s "
                f"{run.elapsed_s / 60:.1f} min, {100 * run.progress(options):.0f} % of the budget"
            )
            shown_step, shown_s = run.step, run.elapsed_s
        if run.step % options.eval_every == 0:
            report(run, data, options)
            run.save(work / "checkpoint.pt")
            export(out, run.model, data.tokenizer, options)


def finish(run: Run, data: Data, options: Options, out: Path) -> dict[str, float]:
    """Round the weights to float16, judge those in float32, export them."""
    for weight in run.model.parameters():
        weight.data.copy_(weight.data.half().float())
    exact = replace(options, bf16=False)
    figures = report(run, data, exact)
    n_windows = max(1, min(16, len(data.held_out) // options.context_tokens))
    n_tokens = min(len(data.held_out), n_windows * options.context_tokens) // n_windows * n_windows
    largest = largest_activation(run.model, data.held_out[:n_tokens].view(n_windows, -1))
    if not largest < FP16_BENIGN_MAX:
        raise SystemExit(f"an activation reaches {largest:g}, beyond {FP16_BENIGN_MAX:g}")
    export(out, run.model, data.tokenizer, options)
    return figures | {"largest_activation": round(largest, 2)}


def arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line: one flag per field of Options, and where to read and write."""
    parser = argparse.ArgumentParser(
        description="Train a small Python-completing decoder on the standard library's own source "
        "and export it as a Hugging Face directory (config.json, model.safetensors in float16, "
        "tokenizer.json).",
        epilog="Try it in two minutes: train.py --minutes 2 --out /tmp/tiny --work /tmp/tiny-work. "
        "The learning rate falls along a cosine over the steps or the minutes, whichever end "
        "first; give --steps alone (with a large --minutes) for a run that repeats exactly. "
        "Stopped? The same command with --resume goes on from the last evaluation. The last line, "
        "on stdout, is one JSON object with the held-out loss.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    stdlib = Path(sysconfig.get_paths()["stdlib"])
    parser.add_argument("--out", type=Path, required=True, help="directory to export to")
    parser.add_argument("--work", type=Path, required=True, help="checkpoint and tokenizer go here")
    parser.add_argument("--source", type=Path, default=stdlib, help="folder of Python files")
    parser.add_argument("--resume", action="store_true", help="go on from --work's checkpoint")
    parser.add_argument("--start-from", type=Path, help="exported directory to begin with")
    for field in fields(Options):
        flag, default = "--" + field.name.replace("_", "-"), field.default
        if isinstance(default, bool):
            parser.add_argument(flag, action="store_true", help=HELP[field.name])
        else:
            parser.add_argument(flag, type=type(default), default=default, help=HELP[field.name])
    return parser.parse_args(argv)


HELP = {
    "vocab_size": "pieces in the tokenizer",
    "dim": "width of the residual stream",
    "n_layers": "decoder layers",
    "n_heads": "query heads",
    "n_kv_heads": "key/value heads, shared by groups of query heads",
    "hidden_dim": "width inside the feed-forward block",
    "context_tokens": "window length, and the longest context of the model",
    "rope_theta": "base of the rotary frequencies",
    "rms_eps": "epsilon of RMSNorm",
    "steps": "stop after this many optimiser steps",
    "minutes": "stop after this much training time (evaluation not counted)",
    "batch": "windows per step",
    "peak_lr": "learning rate after warm-up; it ends at a fiftieth of this",
    "warmup_steps": "steps of linear warm-up",
    "weight_decay": "AdamW weight decay of the matrices",
    "clip": "largest norm of the gradient",
    "eval_every": "steps between evaluation, checkpoint and export",
    "held_out": "share of the files set aside for the validation loss",
    "seed": "draws the held-out files, the first weights and the order of the windows",
    "threads": "CPU threads",
    "bf16": "multiply in bfloat16 (faster on CPUs with avx512_bf16 or amx)",
}


def main(argv: list[str] | None = None) -> None:
    """Train, export, and print the figures as one JSON object."""
    args = arguments(argv)
    options = Options(**{field.name: getattr(args, field.name) for field in fields(Options)})
    args.work.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    data = prepare(args.source, options, args.work / "tokenizer.json")
    model = Decoder(options)
    if args.start_from:
        start_from(args.start_from, model, data.tokenizer)
    run = Run(model=model, optimizer=make_optimizer(model, options))
    if args.resume:
        run.load(args.work / "checkpoint.pt")
    n_parameters = sum(weight.numel() for weight in model.parameters())
    say(f"{n_parameters} parameters; {asdict(options)}")
    loop(run, data, options, args.work, args.out)
    figures = finish(run, data, options, args.out)
    print(json.dumps({"parameters": n_parameters} | figures))


if __name__ == "__main__":
    main()
