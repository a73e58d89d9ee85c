"""The drawing of the house: arrows go down only, one room speaks to the outside, and a light start stays light."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FILES = sorted([*(ROOT / "gendet_cli").rglob("*.py"), *(ROOT / "plugins").glob("*.py")])

VALUES = {"types", "errors"}
RECIPES = {"audit", "scan", "train", "finetune", "evaluate", "compare", "export", "features", "sweep", "collect"}
LOWER = {"config", "intake", "model", "data", "detector", "plugin", "engine", "evaluation", "report"}
ALLOWED = {
    "types": set(),
    "errors": set(),
    "config": VALUES,
    "model": {"model"},
    "intake": VALUES | {"intake"},
    "data": VALUES | {"data"},
    "report": VALUES | {"report"},
    "plugin": VALUES | {"plugin"},
    "detector": VALUES | {"model", "detector", "plugin"},
    "evaluation": VALUES | {"data", "evaluation"},
    "engine": VALUES | {"intake", "data", "plugin", "engine", "detector", "version"},
    **dict.fromkeys(RECIPES, VALUES | LOWER | RECIPES | {"version"}),
    "cli": VALUES | LOWER | RECIPES | {"cli", "version"},
    "__main__": {"cli"},
    "version": set(),
    "gendet_plugins": {"plugin.api"},
}
"""Per room the rooms it may import. ``version`` is the package's own ``__init__``."""

ONLY_FOR_TYPES = {("plugin", "model"), ("plugin", "detector")}
"""The API re-exports these lazily, and a spec is annotated with them; neither may be imported when it is loaded."""

OUTSIDE = {
    ("gendet_cli/engine/worker.py", "os.environ"): "a child limits its own BLAS threads before numpy is imported",
    ("gendet_cli/engine/worker.py", "sys.argv"): "a child process is given the number of its pipe there",
    ("gendet_cli/__main__.py", "sys.exit"): "python -m gendet_cli is the command itself",
    ("gendet_cli/plugin/registry.py", "SystemExit"): "caught, so that a broken plugin cannot end the run",
}
"""What speaks to the outside although it is not in ``cli``, and why."""

HEAVY_AT_FIRST_USE = {"torch", "onnxruntime", "open_clip", "timm", "onnx", "sklearn", "torchvision", "onnxscript"}


@dataclass(frozen=True)
class Import:
    """One import: the file, the line, the absolute module, and whether type checkers alone see it, or on first use."""

    file: str
    line: int
    module: str
    type_checking: bool
    lazy: bool


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def room_of_file(file: str) -> str:
    parts = Path(file).with_suffix("").parts
    if parts[0] == "plugins":
        return "gendet_plugins"
    return "version" if parts[1] == "__init__" else parts[1]


def room_of_module(module: str) -> str:
    """The room a ``gendet_cli`` module lies in; the API apart from the rest of its room."""
    parts = module.split(".")
    if parts[:3] == ["gendet_cli", "plugin", "api"]:
        return "plugin.api"
    return parts[1] if len(parts) > 1 else "version"


def is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")


def walk(node: ast.AST, type_checking: bool = False, lazy: bool = False) -> Iterator[tuple[ast.AST, bool, bool]]:
    """Every node below ``node``, with whether it is under ``TYPE_CHECKING`` and whether it is inside a function."""
    if isinstance(node, ast.If) and is_type_checking(node):
        for child in node.body:
            yield child, True, lazy
            yield from walk(child, True, lazy)
        children: list[ast.AST] = list(node.orelse)
    else:
        children = list(ast.iter_child_nodes(node))
    for child in children:
        yield child, type_checking, lazy
        inside = lazy or isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        yield from walk(child, type_checking, inside)


def is_module(name: str) -> bool:
    path = ROOT / Path(*name.split("."))
    return path.is_dir() or path.with_suffix(".py").is_file()


def imports_in(source: str, file: str) -> list[Import]:
    found = []
    for node, type_checking, lazy in walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            package = Path(file).parts[: -node.level] if node.level else ()
            origin = ".".join(filter(None, [*package, node.module]))
            names = [f"{origin}.{alias.name}" for alias in node.names]
            modules = [name if name.startswith("gendet_cli") and is_module(name) else origin for name in names]
        else:
            continue
        found += [Import(file, node.lineno, module, type_checking, lazy) for module in modules]
    return found


def imports(path: Path) -> list[Import]:
    return imports_in(path.read_text(encoding="utf-8"), name_of(path))


def problem(found: Import) -> str:
    """Why an import is not allowed, or an empty string."""
    if found.module.split(".")[0] == "gendet_plugins":
        return f"{found.file}:{found.line} imports a plugin; the registry finds them by entry points"
    if found.module.split(".")[0] != "gendet_cli":
        return ""
    room, target = room_of_file(found.file), room_of_module(found.module)
    reached = {target, "plugin"} if target == "plugin.api" and room != "gendet_plugins" else {target}
    if reached & ALLOWED[room]:
        return ""
    if (room, target) in ONLY_FOR_TYPES and found.type_checking:
        return ""
    return f"{found.file}:{found.line} is in {room} and imports {found.module}"


def speaks(source: str) -> list[tuple[str, int]]:
    """Prints, consoles, exits and readings of the environment or of arguments, with their lines."""
    calls = {"print", "input", "exit", "quit"}
    names = {"os.environ", "os.environb", "os.getenv", "os.putenv", "os._exit", "sys.exit", "SystemExit"}
    names |= {"sys.argv", "rich.print"}
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in calls:
            found.append((node.func.id, node.lineno))
        elif isinstance(node, ast.Attribute | ast.Name) and ast.unparse(node) in names:
            found.append((ast.unparse(node), node.lineno))
        elif isinstance(node, ast.ImportFrom):
            brought = {f"{node.module}.{alias.name}" for alias in node.names} | {str(node.module)}
            found += [(name, node.lineno) for name in sorted(brought & (names | {"rich.console"}))]
        elif isinstance(node, ast.Import):
            found += [(alias.name, node.lineno) for alias in node.names if alias.name in ("rich.console", "typer")]
    return found


def test_every_file_is_in_a_room() -> None:
    assert len(FILES) > 30
    assert {room_of_file(name_of(path)) for path in FILES} <= set(ALLOWED)


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_arrows_go_down_only(path: Path) -> None:
    assert [text for text in map(problem, imports(path)) if text] == []


@pytest.mark.parametrize("room", ["types", "errors"])
def test_the_values_that_flow_import_the_standard_library_alone(room: str) -> None:
    found = imports(ROOT / "gendet_cli" / f"{room}.py")
    assert [i for i in found if not i.type_checking and i.module.split(".")[0] not in sys.stdlib_module_names] == []
    typed = {i.module.split(".")[0] for i in found if i.type_checking}
    assert typed <= {"numpy", "PIL"} | sys.stdlib_module_names


@pytest.mark.parametrize("path", [p for p in FILES if p.parent.name in ("cli", "plugins", "plugin")], ids=name_of)
def test_heavy_libraries_are_imported_at_first_use(path: Path) -> None:
    heavy = [i for i in imports(path) if not i.lazy and not i.type_checking]
    assert [i for i in heavy if i.module.split(".")[0] in HEAVY_AT_FIRST_USE] == []


@pytest.mark.parametrize("path", [p for p in FILES if p.parent.name != "cli"], ids=name_of)
def test_only_the_command_line_prints_reads_the_environment_or_exits(path: Path) -> None:
    spoken = speaks(path.read_text(encoding="utf-8"))
    assert [(name, line) for name, line in spoken if (name_of(path), name) not in OUTSIDE] == []


def test_every_exception_is_still_needed() -> None:
    for file, name in OUTSIDE:
        assert name in {spoken for spoken, _ in speaks((ROOT / file).read_text(encoding="utf-8"))}, (file, name)


@pytest.mark.parametrize(
    ("file", "source"),
    [
        ("gendet_cli/types.py", "from gendet_cli.errors import GendetError"),
        ("gendet_cli/model/losses.py", "from gendet_cli.types import Score"),
        ("gendet_cli/intake/read.py", "from gendet_cli.detector.files import read_json"),
        ("gendet_cli/intake/read.py", "def f():\n    import gendet_cli.engine.pool"),
        ("gendet_cli/data/store.py", "from gendet_cli import evaluation"),
        ("gendet_cli/report/rows.py", "from ..data import store"),
        ("gendet_cli/detector/files.py", "from gendet_cli.cli.guard import stderr"),
        ("gendet_cli/plugin/api.py", "from gendet_cli.model import methods"),
        ("gendet_cli/scan.py", "from gendet_cli.cli import main"),
        ("gendet_cli/cli/scan.py", "from gendet_plugins import clip"),
        ("plugins/clip.py", "from gendet_cli.plugin.specs import Backbone"),
        ("plugins/clip.py", "from gendet_cli import errors"),
    ],
)
def test_an_upward_arrow_is_seen(file: str, source: str) -> None:
    assert [text for text in map(problem, imports_in(source, file)) if text]


@pytest.mark.parametrize(
    ("file", "source"),
    [
        (
            "gendet_cli/plugin/specs.py",
            "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from gendet_cli.model import x",
        ),
        ("plugins/clip.py", "from gendet_cli.plugin.api import Backbone"),
        ("plugins/clip.py", "from gendet_cli.plugin import api"),
        ("gendet_cli/detector/files.py", "from gendet_cli.model.networks import Tokens"),
        ("gendet_cli/cli/app.py", "from gendet_cli import __version__"),
    ],
)
def test_a_downward_arrow_is_left_alone(file: str, source: str) -> None:
    assert [text for text in map(problem, imports_in(source, file)) if text] == []


@pytest.mark.parametrize(
    "source",
    [
        "print(1)",
        "import sys\nsys.exit(1)",
        "raise SystemExit(2)",
        "import os\nx = os.environ['A']",
        "import os\nos.getenv('A')",
        "from os import environ",
        "from sys import exit",
        "from rich.console import Console",
    ],
)
def test_a_voice_outside_the_command_line_is_heard(source: str) -> None:
    assert speaks(source)


LIGHT = (
    "gendet_cli.cli",
    "gendet_cli.plugin.api",
    "gendet_cli.plugin.registry",
    "gendet_plugins.clip",
    "gendet_plugins.efficientnet",
    "gendet_plugins.exif",
    "gendet_plugins.finetune",
    "gendet_plugins.methods",
    "gendet_plugins.pixels",
)
HEAVY = "{'torch', 'onnxruntime', 'onnx', 'open_clip', 'timm', 'sklearn'}"


def python(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.parametrize("module", LIGHT)
def test_importing_loads_no_framework(module: str) -> None:
    done = python("-c", f"import sys, {module}; print(sorted({HEAVY} & sys.modules.keys()))")
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, "[]", "")


def test_finding_all_plugins_and_their_offers_loads_no_framework() -> None:
    code = "import sys; from gendet_cli.plugin.registry import Registry; r = Registry(); "
    done = python("-c", code + f"assert r.backbones and r.methods; print(sorted({HEAVY} & sys.modules.keys()))")
    assert (done.returncode, done.stdout.strip()) == (0, "[]"), done.stderr


@pytest.mark.parametrize("arguments", [("--help",), ("scan", "--help"), ("train", "--help"), ("plugins",)])
def test_a_command_that_scores_nothing_loads_no_framework(arguments: tuple[str, ...]) -> None:
    done = python("-X", "importtime", "-m", "gendet_cli", *arguments)
    assert done.returncode == 0, done.stderr[-2000:]
    loaded = {line.rsplit("|", 1)[1].strip() for line in done.stderr.splitlines() if line.startswith("import time:")}
    assert "gendet_cli.cli" in loaded
    assert not {name for name in loaded if name.split(".")[0] in HEAVY_AT_FIRST_USE}
