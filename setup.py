"""The C extension; everything else about the package is in pyproject.toml.

The kernels must round exactly as docs/numerics.md says: no contraction of a*b+c into one rounding
unless the source asks for it, and none of the liberties of -ffast-math.
"""

from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.bdist_wheel import bdist_wheel

KERNELS = "src/takt/lpu/fast/_kernels.c"
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
    """The kernels, where their source is there."""
    if not Path(KERNELS).exists():
        return []
    headers = sorted(str(path) for path in Path(KERNELS).parent.glob("*.h"))
    return [
        Extension(
            "takt.lpu.fast._kernels",
            sources=[KERNELS],
            depends=headers,
            define_macros=[LIMITED_API],
            extra_compile_args=FLAGS,
            extra_link_args=["-pthread"],
            libraries=["m"],
            py_limited_api=True,
        )
    ]


setup(ext_modules=extensions(), cmdclass={"bdist_wheel": AbiWheel})
