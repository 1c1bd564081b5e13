"""The rules for our code that no linter knows: budgets, determinism, what an adapter may import."""

import ast
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BRIDGE = ROOT / "sales_crm_bridge"
ADAPTERS = ROOT / "adapters" / "sales_crm_adapters"

CORE_MODULE_LINES_MAX = 400
ADAPTER_LINES_MAX = 300
FUNCTION_LINES_MAX = 60

OVER_BUDGET: dict[str, str] = {
    "sales_crm_bridge/model.py": "the words of the house; there is no logic in it that could be split off",
}
"""Who is over budget (``path`` or ``path:function``), and why splitting it would be worse."""

RIM = tuple(
    path.removeprefix("sales_crm_bridge/").rstrip("*")
    for path, rules in tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["ruff"]["lint"][
        "per-file-ignores"
    ].items()
    if path.startswith("sales_crm_bridge/") and "TID251" in rules
)
"""Where the world may be read: pyproject.toml says so, where it lifts Ruff's ban on the names that Ruff can see."""

THREADS = frozenset({"call_soon_threadsafe", "run_in_executor", "set_default_executor"})

ADAPTERS_MAY_IMPORT = frozenset(
    {
        *("sales_crm_bridge.errors", "sales_crm_bridge.model", "sales_crm_bridge.ports", "msgspec"),
        # The standard library's pure parts: values in, values out.
        *(
            "__future__",
            "base64",
            "binascii",
            "collections",
            "csv",
            "dataclasses",
            "datetime",
            "decimal",
            "email.utils",
            "enum",
        ),
        *("functools", "hashlib", "hmac", "html", "io", "itertools", "json", "math", "operator", "re", "string"),
        *("struct", "textwrap", "types", "typing", "unicodedata", "urllib.parse", "xml.etree", "zlib", "zoneinfo"),
    },
)


def modules(folder: Path) -> Iterator[tuple[str, str, ast.Module]]:
    """Yield every hand-written module: its path from the root, its text, its tree."""
    for file in sorted(folder.rglob("*.py")):
        if BRIDGE / "pb" not in file.parents:
            text = file.read_text(encoding="utf-8")
            yield str(file.relative_to(ROOT)), text, ast.parse(text)


def lines(node: ast.AST, first: int, last: int) -> int:
    """Count the lines from ``first`` to ``last`` without the docstrings in ``node``: saying what things mean is free."""
    prose = [
        child.value.end_lineno - child.value.lineno + 1
        for child in ast.walk(node)
        if isinstance(child, ast.Expr)
        and isinstance(child.value, ast.Constant)
        and isinstance(child.value.value, str)
        and child.value.end_lineno is not None
    ]
    return last - first + 1 - sum(prose)


def functions(node: ast.AST, prefix: str = "") -> Iterator[tuple[str, int]]:
    """Yield every function's dotted name and its length in lines."""
    for child in ast.iter_child_nodes(node):
        name = prefix
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            name = f"{prefix}{child.name}."
            if not isinstance(child, ast.ClassDef):
                yield name[:-1], lines(child, child.lineno, child.end_lineno or child.lineno)
        yield from functions(child, name)


def over_budget() -> dict[str, str]:
    """Give everything that is longer than its budget, with its length."""
    found = {}
    for folder, limit in ((BRIDGE, CORE_MODULE_LINES_MAX), (ADAPTERS, ADAPTER_LINES_MAX)):
        for path, text, tree in modules(folder):
            if (length := lines(tree, 1, text.count("\n"))) > limit:
                found[path] = f"{length} lines, at most {limit}"
            for name, length in functions(tree):
                if length > FUNCTION_LINES_MAX:
                    found[f"{path}:{name}"] = f"{length} lines, at most {FUNCTION_LINES_MAX}"
    return found


def test_modules_and_functions_keep_their_budgets() -> None:
    """Docstrings aside, a core module has at most 400 lines, an adapter 300, a function 60; exceptions say why."""
    found = over_budget()
    unexplained = {what: length for what, length in found.items() if what not in OVER_BUDGET}
    assert not unexplained, "split by concept:\n" + "\n".join(
        f"{what}: {length}" for what, length in unexplained.items()
    )
    assert not OVER_BUDGET.keys() - found.keys(), "within budget again: take these off the list"


def test_a_budget_counts_code_and_comments_not_docstrings() -> None:
    """What is counted: nested functions by their dotted names, docstrings of every kind left out."""
    source = '''"""Two lines of
module docstring."""

class A:
    """One."""

    x: int = 1
    """An attribute's."""

    def f(self):
        """Doc."""
        # why
        def inner():
            return 1
        return inner
'''
    tree = ast.parse(source)
    assert lines(tree, 1, source.count("\n")) == source.count("\n") - 5
    assert dict(functions(tree)) == {"A.f": 5, "A.f.inner": 2}


def outside_the_rim() -> Iterator[tuple[str, str, ast.Module]]:
    """Yield the modules that the flow's determinism stands on."""
    for path, text, tree in [*modules(BRIDGE), *modules(ADAPTERS)]:
        if not path.removeprefix("sales_crm_bridge/").startswith(RIM):
            yield path, text, tree


def disorder(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Yield what makes two runs differ and Ruff cannot name: line and reason."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr in THREADS:
            yield node.lineno, f"{node.attr}: no threads outside the rim"
        if isinstance(node, ast.Call) and ast.unparse(node) in {"random.Random()", "Random()"}:
            yield node.lineno, "random.Random() without a seed"
        if isinstance(node, ast.For | ast.AsyncFor | ast.comprehension):
            source = node.iter
            call = ast.unparse(source.func) if isinstance(source, ast.Call) else ""
            if isinstance(source, ast.Set | ast.SetComp) or call in {"set", "frozenset"}:
                yield source.lineno, "iterates over a set, whose order differs from process to process: sort it"


def test_the_flow_is_deterministic_where_no_linter_looks() -> None:
    """Outside the rim: no executors, no unseeded generator, no loop over a set as it comes."""
    found = [f"{path}:{line}: {why}" for path, _, tree in outside_the_rim() for line, why in disorder(tree)]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    "source",
    [
        "loop.run_in_executor(None, work)",
        "rng = random.Random()",
        "for x in {'a', 'b'}: ...",
        "[x for x in set(names)]",
        "{x: 1 for x in frozenset(names)}",
    ],
)
def test_the_check_for_disorder_sees(source: str) -> None:
    """The check above is not blind: each kind of disorder is found."""
    assert list(disorder(ast.parse(source)))


@pytest.mark.parametrize(
    "source", ["rng = random.Random(seed)", "for x in sorted({'a', 'b'}): ...", "'a' in {'a', 'b'}"]
)
def test_the_check_for_disorder_lets_order_be(source: str) -> None:
    """The check above does not cry wolf."""
    assert not list(disorder(ast.parse(source)))


def test_the_rim_is_what_the_design_says() -> None:
    """Few places read the world. A new one is a decision, made here and in pyproject.toml."""
    assert set(RIM) == {
        "cli/",
        "demo/",
        "kafka/",
        "ledger/postgres.py",
        "sandbox/__main__.py",
        "telemetry.py",
        "world.py",
    }


def test_no_module_outside_the_rim_excuses_itself() -> None:
    """The ban on clocks, sleeps, threads and chance is lifted by naming a module in the rim, never by a comment."""
    excused = [path for path, text, _ in outside_the_rim() if "noqa: TID251" in text]
    assert not excused


def imported(tree: ast.Module) -> Iterator[str]:
    """Yield the full name of every module or object that is imported."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def own_package(path: str) -> str:
    """Name the package of an adapter that is spread over several modules: they may know one another."""
    parts = Path(path).parts
    return ".".join(parts[1:3]) if len(parts) > 3 else "its own module"


def test_adapters_import_the_port_and_pure_things_only() -> None:
    """An adapter is a conversation, not a client: nothing that it imports could do I/O, sleep or read a clock.

    ``__main__`` writes the page of the CRMs: a program, not an adapter.
    """
    strangers = [
        f"{path}: {name}"
        for path, _, tree in modules(ADAPTERS)
        if not path.endswith(("/__init__.py", "/__main__.py"))
        for name in imported(tree)
        if not any(f"{name}.".startswith(f"{allowed}.") for allowed in {*ADAPTERS_MAY_IMPORT, own_package(path)})
    ]
    assert not strangers, "\n".join(strangers)


@pytest.mark.parametrize(
    "path", sorted((ROOT / "tests").rglob("test_*.py")), ids=lambda path: str(path.relative_to(ROOT))
)
def test_every_test_states_its_promise(path: Path) -> None:
    """A test's docstring says what it promises; without one, nobody knows what its failure means."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    silent = [
        node.name
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.name.startswith("test_")
        and not ast.get_docstring(node)
    ]
    assert not silent, f"{path.relative_to(ROOT)}: {', '.join(silent)}"
