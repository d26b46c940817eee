"""Rooms are one-way: imports point back along the line, through faces only, at the top of a file."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

LEAVES = ("units", "errors", "flags", "files")
ROOMS = (
    "chips",
    "models",
    "lpu",
    "perf",
    "serving",
    "plan",
    "accuracy",
    "claims",
    "report",
    "server",
    "cli",
)
WINGS = (
    "accuracy.calibrate",
    "accuracy.folds",
    "accuracy.report",
    "accuracy.simulated",
    "chips.lookup",
    "chips.measure",
    "lpu.encoders",
    "lpu.kernels",
    "lpu.system",
    "lpu.vision",
    "models.outlines",
    "perf.corrections",
    "perf.host",
    "perf.kernels",
    "perf.lpu",
    "plan.export",
    "plan.hybrids",
    "plan.layout",
    "plan.lpus",
    "plan.money",
    "plan.plans",
    "plan.precision",
    "plan.search",
    "report.accuracy_plot",
    "report.plan_page",
    "report.serving_plot",
    "report.serving_trace",
    "serving.failures",
    "serving.fast",
    "serving.lpus",
    "serving.results",
    "serving.sweeps",
    "serving.tables",
    "serving.workloads",
)  # parts of a large room with a face of their own
PLACE = dict.fromkeys(LEAVES, 0) | {room: i for i, room in enumerate(ROOMS, start=1)}
MAX_FACE = 14
SOURCE = Path(__file__).resolve().parent.parent / "src" / "takt"
FILES = sorted(SOURCE.rglob("*.py"))


def room_of(path: Path) -> str:
    """`chips` for chips/read.py, `units` for units.py, '' for the package's own files."""
    first = path.parts[0].removesuffix(".py")
    return "" if first in ("__init__", "__main__") else first


def imports_of(path: Path, tree: ast.AST) -> Iterator[tuple[int, str, tuple[str, ...]]]:
    """(line, module, names) of each import of takt in a file, at whatever depth, made absolute."""
    package = ("takt", *path.parent.parts)
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.split(".")[0] == "takt":
                    yield node.lineno, alias.name, ()
        elif isinstance(node, ast.ImportFrom):
            names = tuple(alias.name for alias in node.names)
            above = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join(filter(None, [*above, node.module]))
            if module.split(".")[0] == "takt":
                yield node.lineno, module, names


def lines_in_functions(tree: ast.AST) -> set[int]:
    functions = [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]
    return {
        node.lineno
        for function in functions
        for node in ast.walk(function)
        if isinstance(node, ast.Import | ast.ImportFrom)
    }


def violations(path: Path, text: str) -> list[str]:
    """What is wrong with the imports of one file; ``path`` counts from the package."""
    tree = ast.parse(text)
    room = room_of(path)
    hidden = lines_in_functions(tree)
    found = []
    for line, module, names in imports_of(path, tree):
        where = f"{path}:{line}"
        parts = module.split(".")
        targets = [parts[1]] if len(parts) > 1 else [name for name in names if name in PLACE]
        if line in hidden and room != "cli":
            found.append(f"{where}: import of {module} inside a function")
        for target in targets:
            if target not in PLACE:
                found.append(f"{where}: {target} is no room")
            elif room and PLACE[target] > PLACE[room]:
                found.append(f"{where}: {room} imports {target}, which comes after it")
            elif target != room and len(parts) > 2 and ".".join(parts[1:]) not in WINGS:
                found.append(f"{where}: {module} is behind the face of {target}")
    if room != "cli":
        found += [
            f"{path}:{node.lineno}: import by name"
            for node in ast.walk(tree)
            if isinstance(node, ast.Name | ast.Attribute)
            and (node.id if isinstance(node, ast.Name) else node.attr)
            in ("import_module", "__import__")
        ]
    return found


def face_of(init: Path) -> list[str]:
    for node in ast.parse(init.read_text(encoding="utf-8")).body:
        target = node.target if isinstance(node, ast.AnnAssign) else None
        targets = node.targets if isinstance(node, ast.Assign) else [target]
        if any(isinstance(t, ast.Name) and t.id == "__all__" for t in targets):
            return list(ast.literal_eval(node.value))
    raise AssertionError(f"{init} has no __all__")


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_imports_point_back_along_the_line(path: Path) -> None:
    assert violations(path.relative_to(SOURCE), path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_every_file_is_in_a_room(path: Path) -> None:
    assert room_of(path.relative_to(SOURCE)) in ("", *PLACE)


def file_of(face: str) -> Path:
    """The file with the face of a room or wing."""
    path = SOURCE.joinpath(*face.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


@pytest.mark.parametrize("face", [f for f in (*ROOMS, *WINGS) if file_of(f).exists()])
def test_a_face_is_small(face: str) -> None:
    assert len(face_of(file_of(face))) <= MAX_FACE


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_only_what_a_face_lists_is_imported_from_it(path: Path) -> None:
    room = room_of(path.relative_to(SOURCE))
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for line, module, names in imports_of(path.relative_to(SOURCE), tree):
        parts = module.split(".")
        face = ".".join(parts[1:])
        if face in (*ROOMS, *WINGS) and parts[1] != room:
            extra = set(names) - set(face_of(file_of(face)))
            assert not extra, f"{path}:{line}: {sorted(extra)} not in the face of {module}"


@pytest.mark.parametrize(
    ("path", "text", "complaint"),
    [
        ("chips/x.py", "from takt.lpu import Program", "comes after"),
        ("chips/x.py", "from takt import lpu", "comes after"),
        ("units.py", "import takt.chips", "comes after"),
        ("lpu/x.py", "from takt.chips.read import load_chip", "behind the face"),
        ("lpu/x.py", "def f():\n    from takt.chips import load_chip", "inside a function"),
        ("lpu/x.py", "from ..chips.read import load_chip", "behind the face"),
        ("chips/x.py", "from ..lpu import Program", "comes after"),
        ("chips/x.py", "from .. import lpu", "comes after"),
        ("lpu/x.py", "from takt.nowhere import load_chip", "no room"),
        ("cli/x.py", "from takt.lpu.system.compile import Visit", "behind the face"),
        ("lpu/x.py", "import importlib\nimportlib.import_module('takt.cli')", "by name"),
        ("lpu/x.py", "if True:\n    import takt.cli", "comes after"),
    ],
)
def test_the_rule_catches(path: str, text: str, complaint: str) -> None:
    assert [found for found in violations(Path(path), text) if complaint in found]


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("lpu/isa/x.py", "from takt.lpu.isa.table import ROWS\nfrom takt.chips import Chip"),
        ("lpu/isa/x.py", "from .table import ROWS\nfrom ..machine import step"),
        ("cli/x.py", "def f():\n    from takt.lpu import Program"),
        ("chips/x.py", "import numpy as np\nfrom takt.errors import TaktError"),
        ("cli/x.py", "from takt.lpu.system import compile_system"),
    ],
)
def test_the_rule_allows(path: str, text: str) -> None:
    assert violations(Path(path), text) == []
