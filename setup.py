"""The C extensions; everything else about the package is in pyproject.toml.

Both must round exactly as docs/numerics.md says: no contraction of a*b+c into one rounding
unless the source asks for it, and none of the liberties of -ffast-math.
"""

from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.bdist_wheel import bdist_wheel

SOURCES = {
    "takt.lpu.fast._kernels": "src/takt/lpu/fast/_kernels.c",
    "takt.serving.fast._engine": "src/takt/serving/fast/_engine.c",
}
FLAGS = ["-std=c11", "-O3", "-ffp-contract=off", "-fno-math-errno", "-pthread"]
LIMITED_API = ("Py_LIMITED_API", "0x030B0000")


class AbiWheel(bdist_wheel):
    """One wheel for every CPython from 3.11 on."""

    def finalize_options(self) -> None:
        """Mark the wheel as one for the stable ABI, if it holds anything compiled."""
        if self.distribution.ext_modules:
            self.py_limited_api = "cp311"
        super().finalize_options()


def extensions() -> list[Extension]:
    """What is written in C, where its source is there."""
    return [
        _extension(name, Path(source)) for name, source in SOURCES.items() if Path(source).exists()
    ]


def _extension(name: str, source: Path) -> Extension:
    return Extension(
        name,
        sources=[str(source)],
        depends=sorted(str(path) for path in source.parent.glob("*.h")),
        define_macros=[LIMITED_API],
        extra_compile_args=FLAGS,
        extra_link_args=["-pthread"],
        libraries=["m"],
        py_limited_api=True,
    )


setup(ext_modules=extensions(), cmdclass={"bdist_wheel": AbiWheel})
