"""The house stands: imports run downward, and no part of it grows past what can be read."""

from __future__ import annotations

import ast
import io
import tokenize
from pathlib import Path

import pytest

SOURCE = Path(__file__).parent.parent / "src" / "meari"
FLOORS = [
    {"errors", "address", "limits", "units", "histogram", "stream", "wire"},
    {"sock_diag", "sockets", "rio", "stop", "events", "totals", "live", "child"}
    | {"tls_context", "certificates"},
    {"net", "lookup", "announce", "http_layers", "listeners", "unix", "channel"},
    {"engines", "client", "check", "explain", "web"},
    {"supervisor", "server", "writer", "testing", "report"},
    {"cli", "__main__"},
]
FLOOR = {name: level for level, names in enumerate(FLOORS) for name in names}
MODULES = sorted(path for path in SOURCE.rglob("*.py") if path != SOURCE / "__init__.py")
# What is read to understand the far end: one engine, and what engines share.
CORE = (
    "rio",
    "stop",
    "net",
    "listeners",
    "wire.protocol",
    "wire.echo",
    "engines.event",
    "engines.transitions",
    "engines.serving",
    "engines.acceptor",
    "engines.accept_loop",
)


def name(path: Path) -> str:
    """The dotted name of a module, below the package."""
    parts = path.relative_to(SOURCE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(path: Path) -> set[str]:
    """The modules of ours that *path* imports, anywhere in it, by their dotted names below the
    package.
    """
    package = list(path.relative_to(SOURCE).parts[:-1])
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            assert not any(alias.name.split(".")[0] == "meari" for alias in node.names), (
                "imports of our own are relative"
            )
        if isinstance(node, ast.ImportFrom) and node.level:
            base = package[: len(package) - node.level + 1]
            base += node.module.split(".") if node.module else []
            for alias in node.names:
                deeper = [*base, alias.name]
                whole = SOURCE.joinpath(*deeper)
                found.add(
                    ".".join(
                        deeper if whole.with_suffix(".py").exists() or whole.is_dir() else base
                    )
                )
    return found - {""}


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_imports_run_downward(path: Path) -> None:
    own = name(path).split(".")[0]
    assert own in FLOOR, f"{own} stands on no floor"
    for other in imports(path):
        top = other.split(".")[0]
        assert (
            top == own or FLOOR[top] < FLOOR[own] or (FLOOR[top] == FLOOR[own] and FLOOR[own] != 3)
        ), f"{name(path)} (floor {FLOOR[own]}) imports {other} (floor {FLOOR[top]})"


def test_no_import_runs_in_a_circle() -> None:
    graph = {name(path): imports(path) for path in MODULES}
    done: set[str] = set()

    def visit(module: str, path: tuple[str, ...]) -> None:
        assert module not in path, " -> ".join((*path, module))
        if module not in done:
            for other in graph.get(module, ()):
                if other != module:
                    visit(other, (*path, module))
            done.add(module)

    for module in graph:
        visit(module, ())


SANS_IO = ("socket", "select", "selectors", "os", "threading", "time", "subprocess", "io", "signal")


@pytest.mark.parametrize(
    "path", [path for path in MODULES if FLOOR[name(path).split(".")[0]] == 0], ids=name
)
def test_floor_0_touches_nothing(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) and not node.level else []
        assert not {n.split(".")[0] for n in names} & set(SANS_IO)


def code(path: Path) -> int:
    """Lines of code: what is not blank, a comment or a docstring."""
    source = path.read_text()
    found: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type in (tokenize.NAME, tokenize.OP, tokenize.NUMBER, tokenize.STRING):
            found.update(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(ast.parse(source)):
        if (
            isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
            and ast.get_docstring(node) is not None
        ):
            found -= set(range(node.body[0].lineno, (node.body[0].end_lineno or 0) + 1))
    return len(found)


def test_the_far_end_can_be_read_in_an_evening() -> None:
    assert {
        name(path): n for path in MODULES if (n := len(path.read_text().splitlines())) > 400
    } == {}
    tops = {path: name(path).split(".")[0] for path in MODULES}
    lines = {name(path): code(path) for path in tops}
    core = {module: lines[module] for module in CORE}
    assert sum(core.values()) <= 1700, core
    others = {
        module: n
        for module, n in lines.items()
        if module.startswith(("engines.", "wire.")) and module not in CORE
    }
    assert {module: n for module, n in others.items() if n > 150} == {}
