"""What a launch line needs to know that a pool does not say.

Values only.
"""

from dataclasses import dataclass

__all__ = ["BOOTSTRAP_PORT", "PORT", "RENDEZVOUS_PORT", "Settings"]

PORT = 8000  # where every server listens
BOOTSTRAP_PORT = 8998  # where SGLang's prompt servers hand out the addresses of caches
RENDEZVOUS_PORT = 20_000  # where the machines of one replica meet


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """`context_tokens`: longest request, prompt and answer, None for what the model bears (vLLM does not start where its
    cache has no room for one such request); `own_drafts`: the model predicts further tokens itself (multi-token prediction).
    """

    context_tokens: int | None = None
    own_drafts: bool = False
