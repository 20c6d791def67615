# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Which way imports point: the rooms of the package, the closure that travels with checkpoints, and the bare core."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest


PACKAGE = Path(__file__).resolve().parents[2] / "dims_hf"

# room -> what it may import of ours, outside itself. A dotted name allows that module only.
_CORE = {"models", "objectives", "distillation"}
_TEXT = {"models", "phrasebook", "data", "translation", "evaluation", "reports"}
_TRAINING = _CORE | _TEXT | {"methods", "trainers"}
ALLOWED = {
    "models": set(),
    "phrasebook": set(),
    "native": {"models.copied_text", "models.source_text"},
    "data": {"models", "phrasebook"},
    "objectives": {"models"},
    "distillation": {"models", "objectives"},
    "methods": _CORE | {"data", "translation.loading"},
    "translation": {"models"},
    "evaluation": {"models", "phrasebook", "data", "translation"},
    "reports": {"evaluation", "models", "phrasebook", "data", "translation"},
    "bulk": {"models", "translation", "reports"},
    "trainers": _CORE | _TEXT | {"methods"},
    "recipes": _TRAINING | {"bulk"},
    "export": {"models", "data", "translation", "evaluation", "reports", "native"},
    "benchmark": _TRAINING | {"recipes", "export", "native"},
    "reproduction": _TRAINING | {"recipes", "export", "native"},
    "serving": {"models", "translation", "export", "reports"},
    "cli": _TRAINING | {"recipes", "export", "native", "benchmark", "reproduction", "serving", "bulk"},
}
# modules that belong to no room
PLUMBING = ("_lazy", "_exports", "_files", "_machine", "_output", "_commands", "_yaml")
# needed by training, evaluation and figures; never by the core
OPTIONAL = (
    "accelerate",
    "datasets",
    "evaluate",
    "gradio",
    "matplotlib",
    "onnx",
    "onnxruntime",
    "ray",
    "rich",
    "sacrebleu",
)
# huggingface_hub is a hard requirement of transformers, whose configurations are written with its dataclasses
TRAVELLING = {"torch", "transformers", "huggingface_hub"}

# As if the optional packages were not installed: looking for one finds nothing, as transformers' own checks expect.
CORE = """
import importlib.machinery, sys

find = importlib.machinery.PathFinder.find_spec
importlib.machinery.PathFinder.find_spec = staticmethod(
    lambda name, path=None, target=None: None if name.partition(".")[0] in {blocked!r} else find(name, path, target)
)
{body}
"""


def _modules(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*.py") if "__pycache__" not in path.parts)


def _imports(path: Path, package: Path = PACKAGE, *, top_level_only: bool = False) -> Iterator[str]:
    """Absolute dotted names a file imports, one per imported name; `TYPE_CHECKING` blocks are arrows as well."""
    tree = ast.parse(path.read_text(encoding="utf-8"), filename=str(path))
    here = [package.name, *path.relative_to(package).with_suffix("").parts]
    for node in _import_time_nodes(tree) if top_level_only else ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = here[: len(here) - node.level] if node.level else []
            parts = [*base, *([node.module] if node.module else [])]
            yield from (".".join([*parts, alias.name]) for alias in node.names)


def _import_time_nodes(tree: ast.AST) -> Iterator[ast.AST]:
    """Nodes that run when the module is imported: no function bodies, no `if TYPE_CHECKING`."""
    for node in ast.iter_child_nodes(tree):
        is_typing = isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        if not is_typing and not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            yield node
            yield from _import_time_nodes(node)


def _wrong_arrows(room: str, path: Path, package: Path = PACKAGE) -> list[str]:
    wrong = []
    for name in _imports(path, package):
        parts = name.split(".")
        if parts[0] != package.name or parts[1:2] == [room] or parts[1:] in (["__version__"], ["*"]):
            continue
        target = parts[1] if len(parts) > 1 else ""
        if target in PLUMBING and room != "models":
            continue
        if target not in ALLOWED[room] and ".".join(parts[1:3]) not in ALLOWED[room]:
            wrong.append(f"{path.relative_to(package.parent)} imports {name}")
    return wrong


def _rooms() -> list[str]:
    return sorted(path.name for path in PACKAGE.iterdir() if path.is_dir() and any(path.glob("*.py")))


def test_rooms_of_the_package_are_all_known():
    assert set(_rooms()) <= set(ALLOWED)


@pytest.mark.parametrize("room", _rooms())
def test_imports_of_a_room_point_the_allowed_way(room: str):
    # the command line may import the whole package, e.g. to register the models
    wrong = [arrow for path in _modules(PACKAGE / room) for arrow in _wrong_arrows(room, path)]
    if room == "cli":
        wrong = [arrow for arrow in wrong if not arrow.endswith(" imports dims_hf")]
    assert wrong == []


def _files(name: str, package: Path = PACKAGE) -> Path | None:
    """The file that an imported dotted name is in."""
    parts = name.split(".")
    if parts[0] != package.name:
        return None
    for count in (len(parts), len(parts) - 1):
        base = package.parent.joinpath(*parts[:count])
        for path in (base.with_suffix(".py"), base / "__init__.py"):
            if path.is_file():
                return path
    return None


def _arrows(package: Path = PACKAGE) -> dict[str, set[str]]:
    """file -> files that it imports, wherever in it; those of type checkers too."""
    arrows = {}
    for path in _modules(package):
        targets = {found for name in _imports(path, package) if (found := _files(name, package)) not in (None, path)}
        arrows[str(path.relative_to(package))] = {str(target.relative_to(package)) for target in targets}
    # its lazy table of public names points everywhere, and nothing imports through it but the command line
    arrows["__init__.py"] = set()
    return arrows


def _circles(arrows: dict[str, set[str]]) -> set[frozenset[str]]:
    """Sets of nodes that reach each other."""

    def reach(start: str) -> set[str]:
        seen, todo = set(), [start]
        while todo:
            for node in arrows.get(todo.pop(), set()) - seen:
                seen.add(node)
                todo.append(node)
        return seen

    reached = {node: reach(node) for node in arrows}
    return {
        frozenset(other for other in reached[node] if node in reached.get(other, ()))
        for node in arrows
        if node in reached[node]
    }


def test_files_do_not_import_in_a_circle():
    assert _circles(_arrows()) == set()


def test_rooms_do_not_import_in_a_circle():
    rooms: dict[str, set[str]] = {}
    for source, targets in _arrows().items():
        room = source.partition("/")[0]
        found = {target.partition("/")[0] for target in targets if "/" in target}
        rooms.setdefault(room, set()).update(found - {room})
    assert _circles(rooms) == set()


def test_circle_of_planted_files_is_found(tmp_path: Path):
    package = tmp_path / "dims_hf"
    for name, line in (
        ("a/one.py", "from dims_hf.b.two import x"),
        ("b/two.py", "def f():\n    import dims_hf.a.one"),
    ):
        (package / name).parent.mkdir(parents=True)
        (package / name).write_text(line + "\n", encoding="utf-8")
    assert _circles(_arrows(package)) == {frozenset({"a/one.py", "b/two.py"})}


@pytest.mark.parametrize(
    ("room", "line", "is_wrong"),
    [
        ("models", "from ..data import TranslationCollator", True),
        ("models", "import dims_hf.data.collator", True),
        ("models", "from .masking import is_content", False),
        ("objectives", "from dims_hf.models.masking import is_content", False),
        ("objectives", "from dims_hf.models import masking", False),
        ("objectives", "from dims_hf.data import TranslationCollator", True),
        ("data", "def f():\n    from dims_hf.trainers import NATTrainer", True),
        ("evaluation", "from dims_hf import CMLMConfig", True),
        ("distillation", "from ..objectives.dims import dims_loss", False),
        ("trainers", "from dims_hf import cli", True),
    ],
)
def test_wrong_arrows_of_a_planted_import_is_found(tmp_path: Path, room: str, line: str, is_wrong: bool):
    path = tmp_path / "dims_hf" / room / "planted.py"
    path.parent.mkdir(parents=True)
    path.write_text(line + "\n", encoding="utf-8")
    assert bool(_wrong_arrows(room, path, tmp_path / "dims_hf")) is is_wrong


@pytest.mark.parametrize("path", _modules(PACKAGE / "models"), ids=lambda path: path.name)
def test_models_import_siblings_torch_and_transformers_only(path: Path):
    """What travels with a checkpoint is flat, and needs nothing that its user may not have."""
    assert path.parent == PACKAGE / "models"
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.level:
            is_sibling = node.level == 1 and node.module is not None and "." not in node.module
            assert is_sibling, f"line {node.lineno}: only `from .sibling import name` is copied to the Hub"
        elif isinstance(node, ast.ImportFrom):
            assert _may_travel(node.module), f"line {node.lineno}: {node.module}"
        elif isinstance(node, ast.Import):
            assert all(_may_travel(alias.name) for alias in node.names), f"line {node.lineno}"


def _may_travel(name: str) -> bool:
    top = name.partition(".")[0]
    return top in TRAVELLING or top in sys.stdlib_module_names


@pytest.mark.parametrize("room", _rooms())
def test_optional_packages_are_not_imported_at_the_top_of_a_module(room: str):
    # a metric that subclasses evaluate.Metric, and its like, sits in a module that is itself imported where used
    reached = {name.partition(".")[0] for path in [PACKAGE / "__init__.py"] for name in _imports(path)}
    assert not reached & set(OPTIONAL)
    if room in ("models", "objectives", "distillation"):
        for path in _modules(PACKAGE / room):
            found = {name.partition(".")[0] for name in _imports(path, top_level_only=True)} & set(OPTIONAL)
            assert not found, f"{path.name} imports {found}"


def _run_without_optional(body: str, tmp_path: Path) -> subprocess.CompletedProcess:
    program = CORE.format(blocked=set(OPTIONAL), body=body)
    environment_root = str(PACKAGE.parent)
    return subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {environment_root!r})\n{program}"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        timeout=120,
    )


def test_core_without_optional_packages_imports_generates_and_translates(tmp_path: Path):
    done = _run_without_optional(
        "import dims_hf, torch\n"
        "from dims_hf import CMLMConfig, CMLMForConditionalGeneration\n"
        "config = CMLMConfig(vocab_size=20, d_model=16, encoder_layers=1, decoder_layers=1, encoder_ffn_dim=16,\n"
        "    decoder_ffn_dim=16, encoder_attention_heads=2, decoder_attention_heads=2, max_position_embeddings=32)\n"
        "model = CMLMForConditionalGeneration(config).eval()\n"
        "out = model.generate(torch.tensor([[0, 7, 8, 2]]), num_iterations=2, target_lengths=torch.tensor([3]))\n"
        "assert out.shape[0] == 1 and not (out == config.mask_token_id).any(), out\n"
        "import dims_hf.models, dims_hf.cli.main\n"
        "print('core', dims_hf.__version__)",
        tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("core ")


def test_run_without_optional_when_one_is_imported_fails(tmp_path: Path):
    done = _run_without_optional("import sacrebleu", tmp_path)
    assert done.returncode != 0
    assert "No module named 'sacrebleu'" in done.stderr
