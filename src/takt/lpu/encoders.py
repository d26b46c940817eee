"""Encoders on many chips: the face of what `system` has for them.

compile_encoder      shape × system → EncoderCompiled, one exact schedule
summarise_encoder    its figures
EncoderSession       a model in use: tokens → vector
"""

from takt.lpu.system.encoder import EncoderCompiled, compile_encoder
from takt.lpu.system.encoder_session import EncodedSequence, EncoderSession
from takt.lpu.system.encoder_summary import EncoderSummary, summarise_encoder

__all__ = [
    "EncodedSequence",
    "EncoderCompiled",
    "EncoderSession",
    "EncoderSummary",
    "compile_encoder",
    "summarise_encoder",
]
