"""Compile one shape in this process and print its figures as JSON: `compile_one.py SHAPE WEIGHTS CONTEXT`."""

from __future__ import annotations

import sys

from measure import as_json, compile_here
from shapes import by_name

from takt.chips import load_chip

if __name__ == "__main__":
    name, weights, context = sys.argv[1:]
    made = compile_here(by_name(name), load_chip("lpu-v1"), weights=weights, context=int(context))
    print(as_json(made))
