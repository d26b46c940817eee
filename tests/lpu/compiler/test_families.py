"""Every family, tiny and random, saved by `transformers`, compiled and run: the chip gives their logits."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from takt.chips import Chip
from takt.lpu import Session, compile_model
from takt.models import load_model

from .conftest import ids_of, prompt_logits, relative_error, step_logits

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

# Their deprecations are not ours to fix.
pytestmark = pytest.mark.filterwarnings("ignore")

TOLERANCE = {"fp16": 1e-2, "int8": 1e-1}
N_TOKENS = 40
N_STEPS = 5
LLAMA = {
    "vocab_size": 517,
    "hidden_size": 96,
    "intermediate_size": 172,
    "num_hidden_layers": 2,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
}
GPT2 = {
    "vocab_size": 517,
    "n_embd": 96,
    "n_layer": 2,
    "n_head": 6,
    "n_positions": 64,
    "bos_token_id": 0,
    "eos_token_id": 0,
}
NEO = {
    "vocab_size": 517,
    "hidden_size": 96,
    "num_layers": 2,
    "num_heads": 6,
    "max_position_embeddings": 64,
    "attention_types": [[["global", "local"], 1]],
    "window_size": 9,
    "bos_token_id": 0,
    "eos_token_id": 0,
}
BERT = {
    "vocab_size": 517,
    "hidden_size": 96,
    "intermediate_size": 172,
    "num_hidden_layers": 2,
    "num_attention_heads": 6,
    "max_position_embeddings": 64,
}
LLAMA3_ROPE = {
    "rope_type": "llama3",
    "rope_theta": 10000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 16,
}
ONE_KEY_HEAD = {
    "num_key_value_heads": 1,
    "num_attention_heads": 5,
    "hidden_size": 90,
    "head_dim": 18,
}
DECODERS: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("Llama", LLAMA),
    "llama-tied": ("Llama", LLAMA | {"tie_word_embeddings": True}),
    "llama-biases": ("Llama", LLAMA | {"attention_bias": True, "mlp_bias": True}),
    "llama3-rope": ("Llama", LLAMA | {"rope_parameters": LLAMA3_ROPE}),
    "llama-own-key-heads": ("Llama", LLAMA | {"num_key_value_heads": 6}),
    "llama-width-90-heads-of-18": ("Llama", LLAMA | ONE_KEY_HEAD),
    "llama-heads-of-32": ("Llama", LLAMA | {"head_dim": 32}),
    "llama-heads-of-64": ("Llama", LLAMA | {"head_dim": 64, "num_key_value_heads": 6}),
    "llama-heads-of-128": ("Llama", LLAMA | {"head_dim": 128}),
    "mistral-window-6": ("Mistral", LLAMA | {"sliding_window": 6}),
    "qwen2": ("Qwen2", LLAMA),
    "qwen2-window-5": (
        "Qwen2",
        LLAMA | {"use_sliding_window": True, "sliding_window": 5, "max_window_layers": 1},
    ),
    "qwen3": ("Qwen3", LLAMA | {"head_dim": 32}),
    "gpt2": ("GPT2", GPT2),
    "gpt2-two-vectors": ("GPT2", GPT2 | {"n_embd": 360}),
    "gpt2-erf-gelu": ("GPT2", GPT2 | {"activation_function": "gelu"}),
    "gpt2-relu": ("GPT2", GPT2 | {"activation_function": "relu"}),
    "gpt-neo-window-9": ("GPTNeo", NEO),
}
HEADS = {"GPT2": "GPT2LMHeadModel"}


def build(kind: str, options: dict[str, Any], head: str = "ForCausalLM") -> Any:
    """A random model of theirs in which every part matters and no score is extreme.

    Matrices keep the size of what goes through them, GPT-Neo's unscaled queries excepted, which get smaller.
    """
    torch.manual_seed(7)
    config = getattr(transformers, f"{kind}Config")(**options)
    config._attn_implementation = "eager"
    model = getattr(transformers, HEADS.get(kind, kind + head))(config).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            norm = "norm" in name.lower() or ".ln_" in name
            spread = 0.1 if parameter.ndim == 1 else parameter.shape[-1] ** -0.5
            if kind == "GPTNeo" and ".q_proj" in name:
                spread /= 4
            parameter.normal_(1.0 if norm and name.endswith("weight") else 0.0, spread)
    return model


def saved(case: str, folder: Path) -> tuple[list[int], np.ndarray]:
    """Save a case of `DECODERS`; token ids and the logits that it gives them."""
    kind, options = DECODERS[case]
    model = build(kind, options)
    model.save_pretrained(folder)
    ids = ids_of(options["vocab_size"], N_TOKENS)
    with torch.no_grad():
        return ids, model(torch.tensor([ids])).logits[0].double().numpy()


@pytest.mark.parametrize("weights", ["fp16", "int8"])
@pytest.mark.parametrize("case", DECODERS)
def test_decode_steps_give_the_logits_of_transformers(
    case: str, weights: str, chip: Chip, tmp_path: Path
) -> None:
    ids, expected = saved(case, tmp_path)
    with load_model(tmp_path) as model:
        found = step_logits(Session(compile_model(model, chip, weights=weights)), ids)
    assert relative_error(found, expected) < TOLERANCE[weights]


@pytest.mark.parametrize("weights", ["fp16", "int8"])
@pytest.mark.parametrize("case", DECODERS)
def test_a_prompt_in_chunks_gives_the_logits_of_transformers(
    case: str, weights: str, chip: Chip, tmp_path: Path
) -> None:
    ids, expected = saved(case, tmp_path)
    with load_model(tmp_path) as model:
        session = Session(compile_model(model, chip, weights=weights))
        found = prompt_logits(session, ids, N_STEPS)
    assert relative_error(found, expected[-1 - N_STEPS :]) < TOLERANCE[weights]


@pytest.mark.parametrize("n_tokens", [1, 17, 40])
@pytest.mark.parametrize("weights", ["fp16", "int8"])
def test_bert_gives_the_mean_hidden_state_of_transformers(
    n_tokens: int, weights: str, chip: Chip, tmp_path: Path
) -> None:
    model = build("Bert", BERT, "Model")
    model.save_pretrained(tmp_path)
    ids = ids_of(517, n_tokens)
    with torch.no_grad():
        hidden = model(torch.tensor([ids])).last_hidden_state[0].numpy()
    with load_model(tmp_path) as ours:
        session = Session(compile_model(ours, chip, weights=weights, context=N_TOKENS))
        result = session.encode(ids)
        pooled = session.compiled.read_pooled(session.memory, "pooled")
        first = session.compiled.read_pooled(session.memory, "first")
    assert result.cycles == result.step.program.cycles >= result.step.bound.cycles > 0
    assert relative_error(pooled, hidden.mean(0)) < TOLERANCE[weights]
    assert relative_error(first, hidden[0]) < TOLERANCE[weights]
