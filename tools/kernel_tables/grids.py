"""The grid of each family: where its tables have nodes. Measured sizes are nodes; the rest rounds them off."""

from collections.abc import Callable

from takt.perf.kernels.links import COLLECTIVES

from .fit import Grid

__all__ = ["grid_of"]


def _octaves(first: int, last: int) -> tuple[float, ...]:
    return tuple(2.0**i for i in range(first, last + 1))


_WIDE = tuple(512.0 * n for n in (1, 2, 3, 4, 6, 8, 10, 14, 16, 20, 24, 32, 100))
_LENGTHS = (1024.0, 4096.0, 8192.0, 16384.0, 32768.0, 65536.0, 131072.0)
_PROMPTS = (16.0, 64.0, 256.0, 1024.0, 2048.0, 4096.0, 8192.0, 16384.0)


def _gemm() -> Grid:
    return Grid(
        nodes=(_octaves(0, 14), (64.0, 256.0, *_WIDE), (128.0, *_WIDE)),
        growth=(1.0, 1.0, 1.0),
        scales=(1.0, 1.0, 1.0),
        rising=(0, 1, 2),
    )


def _prompt() -> Grid:
    return Grid(
        nodes=(_octaves(0, 13), _PROMPTS, (1 / 16, 1 / 8, 1 / 4, 1.0)),
        growth=(1.0, 2.0, 0.0),
        scales=(1.0, 1.0, 0.5),
        rising=(0, 1),
    )


def _decode() -> Grid:
    return Grid(
        nodes=(_octaves(0, 14), (1.0, 128.0, *_LENGTHS), (1.0, 4.0, 8.0, 16.0)),
        growth=(1.0, 1.0, 1.0),
        scales=(1.0, 1.0, 0.7),
        rising=(0, 1),
    )


def _latent_prompt() -> Grid:
    return Grid(
        nodes=(_octaves(3, 14), _PROMPTS), growth=(1.0, 2.0), scales=(1.0, 1.0), rising=(0, 1)
    )


def _latent_decode() -> Grid:
    return Grid(
        nodes=(_octaves(0, 9), (2.0, 128.0, *_LENGTHS), (8.0, 16.0, 64.0, 128.0)),
        growth=(1.0, 1.0, 1.0),
        scales=(1.0, 1.0, 1.0),
        rising=(0, 1, 2),
    )


def _experts() -> Grid:
    return Grid(
        nodes=(_octaves(-8, 13), _octaves(0, 9), _octaves(16, 27)),
        growth=(1.0, 1.0, 1.0),
        scales=(1.0, 1.0, 1.0),
        rising=(0, 1, 2),
    )


def _collective() -> Grid:
    return Grid(
        nodes=(_octaves(8, 30), (2.0, 4.0, 8.0)),
        growth=(1.0, 0.3),
        scales=(1.0, 3.0),
        rising=(0, 1),
    )


def _line() -> Grid:
    return Grid(nodes=(_octaves(8, 30),), growth=(1.0,), scales=(1.0,), rising=(0,))


def _deal() -> Grid:
    return Grid(
        nodes=(_octaves(12, 32), _octaves(1, 6)), growth=(1.0, 0.3), scales=(1.0, 3.0), rising=(0,)
    )


_MAKERS: dict[str, Callable[[], Grid]] = {
    "gemm": _gemm,
    "attention_prompt": _prompt,
    "attention_decode": _decode,
    "latent_prompt": _latent_prompt,
    "latent_decode": _latent_decode,
    "experts": _experts,
    "experts_even": _experts,
    "elementwise": _line,
    "send": _line,
    "dispatch_combine": _deal,
    **dict.fromkeys(COLLECTIVES, _collective),
}


def grid_of(family: str) -> Grid:
    """The grid of a family's tables."""
    return _MAKERS[family]()
