"""Rebuild the shipped kernel tables from a folder of raw measurements: the same files give the same bytes.

    python tools/build_kernels.py ../shared/data/kernels [--out src/takt/perf/data] [--docs docs/kernels.md]

`--docs` writes the table of errors between the marks of that page. Takes some minutes, nearly all of it
cross-validation.
"""

import argparse
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "src"), str(ROOT / "tools")]

from kernel_tables.docs import write_docs  # noqa: E402
from kernel_tables.mixed import mixed_fits  # noqa: E402
from kernel_tables.power import power_fits  # noqa: E402
from kernel_tables.raw import read_all  # noqa: E402
from kernel_tables.tables import all_fits, all_tables, arranged, in_memory  # noqa: E402
from kernel_tables.walk import walk_fits  # noqa: E402
from kernel_tables.write import write_fits, write_tables  # noqa: E402


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--out", type=Path, default=ROOT / "src" / "takt" / "perf" / "data")
    parser.add_argument("--docs", type=Path)
    arguments = parser.parse_args()
    if not arguments.folder.is_dir():
        parser.error(f"{arguments.folder} is no folder")
    samples = in_memory(arranged(read_all(arguments.folder)))
    print(f"{len(samples)} tables, {sum(map(len, samples.values()))} calls", file=sys.stderr)
    tables = all_tables(samples)
    fits = all_fits(samples, tables)
    walks = walk_fits(arguments.folder, tables)
    fits += [*power_fits(arguments.folder), *walks, *mixed_fits(walks)]
    arguments.out.mkdir(parents=True, exist_ok=True)
    write_tables(tables, arguments.out)
    write_fits(fits, arguments.out)
    if arguments.docs:
        write_docs(tables, fits, arguments.docs)


if __name__ == "__main__":
    main()
