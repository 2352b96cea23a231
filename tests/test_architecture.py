"""The rooms of the house: who may import whom, and who may write."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
MAY_IMPORT = {
    "tuner": {"tuner", "jobs", "models"},
    "jobs": {"jobs", "models"},
    "models": {"models"},
}


def modules():
    """Every module of the three rooms with its syntax tree."""
    return [
        (path, ast.parse(path.read_text()))
        for room in MAY_IMPORT
        for path in sorted((ROOT / room).rglob("*.py"))
    ]


def imports(tree):
    """The top-level names that a module imports, wherever in it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.module.split(".")[0]


def test_imports_go_one_way():
    """tuner → jobs → models, and never back."""
    wrong = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path, tree in modules()
        for name in imports(tree)
        if name in MAY_IMPORT and name not in MAY_IMPORT[path.relative_to(ROOT).parts[0]]
    ]
    assert wrong == []


@pytest.mark.parametrize("engine", ["skopt", "hyperopt", "submitit", "optuna"])
def test_each_engine_has_one_home(engine):
    """One module a foreign engine, so that its ways stay there."""
    homes = [str(path.relative_to(ROOT)) for path, tree in modules() if engine in imports(tree)]
    assert len(homes) == 1, homes


def test_models_need_torch_and_numpy_only():
    """They could be lifted out; pandas and pyarrow read a user's own tables, inside functions."""
    allowed = {"models", "torch", "numpy", "pandas", "pyarrow", *sys.stdlib_module_names}
    wrong = [
        f"{path.name} imports {name}"
        for path, tree in modules()
        if path.relative_to(ROOT).parts[0] == "models"
        for name in imports(tree)
        if name not in allowed
    ]
    assert wrong == []


def loaded_by(*names, then="pass"):
    """The modules that are loaded after importing some, and a call, in a new interpreter."""
    code = f"import sys, {', '.join(names)}; {then}; print(*sys.modules)"
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    return set(answer.stdout.split())


def test_the_controller_starts_without_torch():
    """It has neither a GPU nor the seconds for it."""
    assert "torch" not in loaded_by("tuner.run", "tuner.resume", "tuner.report", "jobs.cluster")


def test_the_names_of_the_room_cost_nothing_until_they_are_asked_for():
    """`from tuner import Study` is convenient; `import tuner` comes with every module of it."""
    assert not {"numpy", "tqdm", "tuner.study", "tuner.drive"} & loaded_by("tuner")
    assert "tuner.study" in loaded_by("tuner", then="tuner.Study")


def test_a_worker_starts_without_the_samplers():
    """Start-up is paid by every job."""
    heavy = {"skopt", "hyperopt", "pandas", "matplotlib", "sklearn", "scipy"}
    assert not heavy & loaded_by("jobs.worker")


def test_torch_is_for_those_who_train_with_it():
    """A user's own function may not; eight imports at once cost a small node a minute."""
    assert "torch" not in loaded_by("jobs.worker", "jobs.cluster")


def test_the_first_points_come_before_their_engine():
    """Workers start first, then the sampler's engine is imported; so are the figures'."""
    first = (
        "tuner.samplers.get('gp')(tuner.space.Space({'x': tuner.space.Float(0, 1)}), [], 9, 1, 4)"
    )
    loaded = loaded_by("tuner.samplers", "tuner.space", "tuner.drive", then=first)
    assert "tuner.samplers.random" in loaded
    assert not {"tuner.samplers.gp", "skopt", "sklearn", "matplotlib", "pandas"} & loaded


WRITERS = {"open", "write_text", "write_bytes", "mkdir", "unlink", "rename", "touch", "rmtree"}


def test_one_module_writes_to_the_shared_disk():
    """Everybody else asks jobs/files.py; jobs/doors.py writes modes and no files."""
    wrong = [
        f"{path.relative_to(ROOT)}:{node.lineno} {node.func.attr}"
        for path, tree in modules()
        if path != ROOT / "jobs" / "files.py"
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in WRITERS
        and not (node.func.attr == "open" and _reads(node))
    ]
    assert wrong == []


def _reads(call):
    return any(isinstance(a, ast.Constant) and a.value in {"r", "rb"} for a in call.args)
