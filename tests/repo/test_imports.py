"""Which module of the package imports which: every arrow points down, and there is no circle.

An import counts wherever it stands: at the top, for type checkers only, or in a function. So do the
modules that a facade imports by its table, and the commands that the command line imports by name.
"""

from __future__ import annotations

import ast
import importlib
import re
from functools import lru_cache
from pathlib import Path

import pytest

from tests.support.repository import files, text

PACKAGE = "record_ledger"
# From the bottom to the top. What stands in one line may import one another, without a circle;
# rooms of one line, separated by a bar, may not.
LAYERS = [
    "clocks errors queries redaction visible",
    "config details leases logs results sandbox sending templates twins values",
    "connection prepared refusals server_errors waiting",
    "drain heartbeat processing",
    "calls client",
    "api",
    f"{PACKAGE}",
    "server embedded",
    "exec | moving",
    "airflow | cli",
    "__main__",
]
FACADES = (PACKAGE, f"{PACKAGE}.airflow", f"{PACKAGE}.moving")
# Names of earlier releases stand for the modules that they name.
EARLIER = {
    "airflow.provider_info": "airflow.get_provider_info",
    "embedded": "server.embedded",
    "moving.sources.elasticsearch": "moving.connectors.elasticsearch",
    "moving.sources.postgres": "moving.connectors.postgres.source",
    "moving.stages.local": "moving.connectors.local",
    "moving.stages.s3": "moving.connectors.s3",
    "moving.targets.postgres": "moving.connectors.postgres.target",
    "moving.targets.snowflake": "moving.connectors.snowflake.target",
}


@lru_cache(maxsize=1)
def sources() -> dict[str, tuple[Path, bool]]:
    """Returns each module's file, and whether it is a package."""
    found = {}
    for path in files():
        if path.parts[:2] == ("python_runner", PACKAGE) and path.suffix == ".py":
            parts = path.with_suffix("").parts[1:]
            is_package = parts[-1] == "__init__"
            found[".".join(parts[:-1] if is_package else parts)] = path, is_package
    return found


@lru_cache(maxsize=1)
def graph() -> dict[str, set[str]]:
    return {name: imported(name) - {name} for name in sources()}


def imported(name: str) -> set[str]:
    """Returns the modules of the package that a module imports, however it does."""
    path, is_package = sources()[name]
    tree = ast.parse(text(path))
    found = {f"{PACKAGE}.cli.commands.{module}" for module in named_commands(name, tree)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {module_in(alias.name) for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            origin = node.module or ""
            if node.level:
                package = name.split(".") if is_package else name.split(".")[:-1]
                above = package[: len(package) - node.level + 1]
                origin = ".".join([*above, *filter(None, [node.module])])
            found |= {module_in(f"{origin}.{alias.name}") for alias in node.names}
    if name in FACADES:
        found |= {f"{name}.{module}" for module in table_of(tree).values()}
    return {module for module in found if module}


def module_in(dotted: str) -> str:
    """Returns the module that a dotted name is, or is in; nothing where it is another package's."""
    while dotted and dotted not in sources():
        dotted = dotted.rpartition(".")[0]
    return dotted


def table_of(tree: ast.Module) -> dict[str, str]:
    (table,) = [
        node.value
        for node in tree.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "_MODULE_OF"
    ]
    return ast.literal_eval(table)


def named_commands(name: str, tree: ast.Module) -> set[str]:
    """Returns the modules that the grammar names as those of its commands."""
    if name != f"{PACKAGE}.cli.main":
        return set()
    grammar = [path for module, (path, _) in sources().items() if ".cli.grammar." in module]
    names = {path.stem for path in grammar} - {"shared"}
    commands = {path.stem for path in Path(__file__).parents[2].glob(
        f"python_runner/{PACKAGE}/cli/commands/[!_]*.py")}  # fmt: skip
    assert names == commands, "a module of commands has its grammar under the same name"
    assert "import_module" in ast.dump(tree)
    return commands


def circle_in(graph: dict[str, set[str]]) -> list[str]:
    """Returns modules each of which imports the next one, the last one the first; or nothing."""
    left = {name: set(others) for name, others in graph.items()}
    while True:
        done = {name for name, others in left.items() if not others & left.keys()}
        if not done:
            break
        left = {name: others for name, others in left.items() if name not in done}
    path = [min(left)] if left else []
    while path:
        following = min(left[path[-1]] & left.keys())
        if following in path:
            return path[path.index(following) :]
        path.append(following)
    return []


def room_of(module: str) -> str:
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else parts[0]


def test_no_module_imports_itself_by_way_of_others():
    circle = circle_in(graph())
    assert not circle, f"a circle: {' -> '.join([*circle, circle[0]])}"


def test_a_circle_would_be_named():
    assert circle_in({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": {"a"}}) == ["b", "c"]
    assert circle_in({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == []


def test_every_import_points_down():
    level, part = {}, {}
    for number, layer in enumerate(LAYERS):
        for which, rooms in enumerate(layer.split(" | ")):
            for room in rooms.split():
                level[room], part[room] = number, which
    rooms = {room_of(module) for module in graph()}
    assert rooms == set(level), "each room has its layer"
    wrong = [
        f"{name} imports {other}"
        for name, others in graph().items()
        for other in others
        for here, there in [(room_of(name), room_of(other))]
        if level[there] > level[here] or (level[there] == level[here] and part[there] != part[here])
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("name", FACADES)
def test_a_facade_exports_its_table_to_type_checkers_too(name):
    tree = ast.parse(text(sources()[name][0]))
    (block,) = [node for node in tree.body if isinstance(node, ast.If)]
    imports = {
        alias.asname: node.module
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
        if alias.asname == alias.name
    }
    assert imports == table_of(tree)


@pytest.mark.parametrize("name", EARLIER)
def test_a_name_of_an_earlier_release_is_the_same_module(name):
    try:
        new = importlib.import_module(f"{PACKAGE}.{EARLIER[name]}")
    except ImportError as error:
        pytest.skip(f"it needs what is not installed: {error}")
    old = importlib.import_module(f"{PACKAGE}.{name}")
    assert {key for key in vars(old) if not key.startswith("_")} <= set(vars(new))
    assert all(getattr(old, key) is getattr(new, key) for key in getattr(old, "__all__", []))
    assert old is new or old.__all__


def test_no_query_is_looked_up_by_a_name_that_is_put_together():
    found = [
        str(path)
        for path, _ in sources().values()
        if re.search(r"getattr\(\w*(?:queries|statements)\b", text(path))
    ]
    assert not found
