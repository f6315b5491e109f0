"""The structure that docs/explanations/structure.md draws.

Imports point down the rooms, and no modules import each other in a circle.
"""

from __future__ import annotations

import ast
import os
import re
import subprocess
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

ROOT = Path(__file__).parent.parent
# From the bottom to the top. A module imports from its own room and from rooms before it, also inside functions.
ROOMS = (
    *("errors", "inputs", "config", "core", "stores", "text", "data", "labelled", "scores", "models", "objectives"),
    *("tasks", "training", "observe", "convert", "plan", "fit", "use", "evaluate", "report", "run", "finetune"),
    *("configs", "launch", "commands"),
)
# Modules that are named by a string and imported when a name is looked up. Only these strings may name a room above: a
# config holds names (a family, an optimizer), and the tables of these names are in the rooms that use them.
LOOKED_UP = {
    ("jaxbert.config.schema", "jaxbert.core.sharding"): "layouts",
    ("jaxbert.config.schema", "jaxbert.text.tokenizers"): "kinds of tokenizers",
    ("jaxbert.config.schema", "jaxbert.data.policies"): "rows policies",
    ("jaxbert.config.schema", "jaxbert.models.families"): "families, and the configs of their encoders",
    ("jaxbert.config.schema", "jaxbert.objectives"): "objectives, and their configs",
    ("jaxbert.config.schema", "jaxbert.objectives.masking"): "masking schemes, and their configs",
    ("jaxbert.config.schema", "jaxbert.tasks"): "tasks, and their configs",
    ("jaxbert.config.schema", "jaxbert.training.optim"): "optimizers",
    ("jaxbert.config.schema", "jaxbert.observe.sinks"): "sinks",
    ("jaxbert.config.io", "jaxbert.configs"): "the configs that are installed, by their names",
}
# The package itself and `python -m jaxbert` stand above all rooms.
TOP = ("jaxbert", "jaxbert.__main__")


def modules() -> dict[str, Path]:
    """Every module by its name as it is installed."""
    found = {}
    for name, place in (("jaxbert", "jaxbert"), ("jaxbert.configs", "configs"), ("jaxbert.launch", "launch")):
        for path in (ROOT / place).rglob("*.py"):
            parts = path.relative_to(ROOT / place).with_suffix("").parts
            found[".".join((name, *(part for part in parts if part != "__init__")))] = path
    return found


def imports(name: str, path: Path, known: dict[str, Path]) -> set[str]:
    """Modules of ours that `path` imports, at the top or inside a function; not for type checkers alone."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    typing_only = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for inner in ast.walk(node)
    }
    found: set[str] = set()
    for node in ast.walk(tree):
        if id(node) in typing_only:
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names if alias.name in known}
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            if node.level:
                # Relative: launch/ is read by the type checker where it is, below another name.
                package = name if path.name == "__init__.py" else name.rpartition(".")[0]
                package = package.rsplit(".", node.level - 1)[0] if node.level > 1 else package
                module = f"{package}.{module}".rstrip(".")
            if module.split(".")[0] == "jaxbert":
                for alias in node.names:
                    inner = f"{module}.{alias.name}"
                    found.add(inner if inner in known else module)
    return found - {name, "jaxbert"}


def named(path: Path, known: dict[str, Path]) -> set[str]:
    """Modules of ours that `path` names in a string, as tables and `importlib.import_module` do."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            # The beginning of an f-string ends with the point before the name that is filled in.
            text = node.value.removesuffix(".")
            while re.fullmatch(r"jaxbert(\.\w+)+", text) and text not in known:
                text = text.rpartition(".")[0]  # a name in a module
            if text in known and text != "jaxbert":
                found.add(text)
    return found


def room(module: str) -> str:
    return module.split(".")[1]


def test_imports_point_down_the_rooms():
    known = modules()
    assert {room(name) for name in known if name not in TOP} == set(ROOMS), "a room that ROOMS does not list"
    wrong = [
        f"{name} imports {other}"
        for name, path in known.items()
        if name not in TOP
        for other in imports(name, path, known)
        if ROOMS.index(room(other)) > ROOMS.index(room(name))
    ]
    assert not wrong, "\n".join(sorted(wrong))


def test_the_page_lists_the_rooms_in_their_order():
    page = ROOT / "docs" / "explanations" / "structure.md"
    section = page.read_text(encoding="utf-8").partition("\n## Rooms\n")[2]
    # Rooms are indented below jaxbert/, as they are installed. The lines that continue are indented more.
    found = re.findall(r"^  (\w+)(?:/|\.py) ", section.split("```")[1], re.MULTILINE)
    assert found == list(reversed(ROOMS))


def test_the_page_names_the_folders_and_files_of_a_room():
    """Every folder of a room is named, and every FILE.py and FOLDER/ that is named is there."""
    page = ROOT / "docs" / "explanations" / "structure.md"
    section = page.read_text(encoding="utf-8").partition("\n## Rooms\n")[2].split("```")[1]
    entries = re.split(r"^  (\w+)(?:/|\.py) ", section.partition("\nbenchmarks/")[0], flags=re.MULTILINE)[1:]
    for name, text in zip(entries[::2], entries[1::2], strict=True):
        place = ROOT / name if name in ("launch", "configs") else ROOT / "jaxbert" / name
        if not place.is_dir():
            continue
        there = {path.name for path in place.iterdir() if path.is_dir() and not path.name.startswith("__")}
        assert there <= set(re.findall(r"(\w+)/", text)), name
        for file in re.findall(r"\w+\.py\b", text):
            assert (place / file).is_file(), f"{name}/{file}"
        for folder in re.findall(r"(?<!\w)(\w+)/", text):
            assert (place / folder).is_dir(), f"{name}/{folder}"


def test_names_in_strings_point_down_too():
    known = modules()
    up = {
        (name, other)
        for name, path in known.items()
        if name not in TOP
        for other in named(path, known)
        if ROOMS.index(room(other)) > ROOMS.index(room(name))
    }
    assert up == set(LOOKED_UP), f"not allowed: {up - set(LOOKED_UP)}; no longer there: {set(LOOKED_UP) - up}"


def test_no_modules_import_each_other_in_a_circle():
    known = modules()
    graph = {name: imports(name, path, known) for name, path in known.items()}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        raise AssertionError(" -> ".join(error.args[1])) from None


# The calls that lead from a config to the gradient, by file and function: those who read the four files meet each.
PATH = {
    ("tasks/pretraining.py", "__init__"): {"phase_objectives", "make_model"},
    ("training/step.py", "step"): {"task.prepare", "task.denominators", "gradients", "update"},
    ("training/step.py", "gradients"): {"task.compute", "total_loss", "jax.grad"},
    ("tasks/pretraining.py", "prepare"): {"prepare"},
    ("tasks/pretraining.py", "compute"): {"self.model.hidden", "objective.compute"},
    ("models/encoder.py", "apply"): {"self._embed", "self._block", "positions"},
    ("objectives/masked_lm.py", "prepare"): {"self.scheme.choose", "masking.replace"},
    ("objectives/masked_lm.py", "compute"): {"take_slots", "model.masked_lm", "cross_entropy"},
}
# What lies between them is one statement each, so that nobody has to open its file.
BETWEEN = {("models/model.py", "hidden"): "self.encoder.apply", ("models/model.py", "masked_lm"): "self.apply_head"}


def functions(path: str, name: str) -> list[ast.FunctionDef]:
    tree = ast.parse((ROOT / "jaxbert" / path).read_text(encoding="utf-8"))
    found = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node.name == name]
    assert found, f"{path} has no function {name}"
    return found


def test_four_files_lead_from_a_config_to_the_gradient():
    assert {path for path, _ in PATH} == {
        "tasks/pretraining.py",
        "models/encoder.py",
        "objectives/masked_lm.py",
        "training/step.py",
    }
    for (path, name), calls in PATH.items():
        nodes = [node for function in functions(path, name) for node in ast.walk(function)]
        made = {ast.unparse(node.func) for node in nodes if isinstance(node, ast.Call)}
        assert calls <= made, f"{path}: {name} does not call {', '.join(sorted(calls - made))}"
    for (path, name), call in BETWEEN.items():
        (function,) = functions(path, name)
        _, statement = function.body
        assert isinstance(statement, ast.Return) and isinstance(statement.value, ast.Call)
        assert ast.unparse(statement.value.func) == call


def tracked_links() -> list[Path]:
    """The symbolic links that git tracks; in a copy without git, those of the tree but for environments and outputs."""
    try:
        listed = subprocess.run(["git", "ls-files", "-s", "-z"], cwd=ROOT, capture_output=True, text=True, check=True)
        # Mode, object and stage, a tab, the path; 120000 is the mode of a symbolic link.
        entries = [line.split("\t", 1) for line in listed.stdout.split("\0") if line]
        return [ROOT / path for mode, path in entries if mode.startswith("120000")]
    except (OSError, subprocess.CalledProcessError):
        made = (".venv", "runs", "build", ".git")
        return [
            path
            for path in ROOT.rglob("*")
            if path.is_symlink() and not path.relative_to(ROOT).parts[0].startswith(made)
        ]


def test_no_tracked_link_leaves_the_tree():
    for path in tracked_links():
        target = Path(os.readlink(path)) if path.is_symlink() else Path(path.read_text(encoding="utf-8"))
        assert not target.is_absolute(), f"{path} -> {target}: an absolute link is broken on other machines"
        assert path.parent.joinpath(target).resolve().is_relative_to(ROOT.resolve()), f"{path} -> {target}"
