"""The training function that a study names: its name, its arguments, who finds it."""

import ast
import importlib.util
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import FunctionType
from typing import Any

from jobs import slurm
from models.defaults import OURS
from tuner.inputs import BadInput

Train = Callable[..., Any]  # the arguments are looked at before a run begins
_ARGUMENTS = ("params", "data", "report", "checkpoint", "seed")
_REMEDY = (
    "write it into a file (a cell that begins with %%writefile mymodel.py), and "
    "from mymodel import train"
)
_FIND = "import sys, importlib.util as i; s = i.find_spec(sys.argv[1]); print(s and s.origin)"


def name_of(train: str | Train) -> str:
    """The package.module:name of a function; raises BadInput where no other process finds it."""
    if isinstance(train, str):
        if not re.fullmatch(r"[\w.]+:\w+", train):
            raise BadInput("train", f"{train!r} names no function", "write package.module:name")
        name = train
    else:
        name = _written(train)
    if name.startswith("__main__:"):
        problem = f"{name.removeprefix('__main__:')} is known to this process alone"
        raise BadInput("train", f"{problem}, and workers are others", _REMEDY)
    return name


def _written(train: Train) -> str:
    name = getattr(train, "__qualname__", type(train).__name__)
    module = sys.modules.get(getattr(train, "__module__", None) or "")
    if not isinstance(train, FunctionType) or not hasattr(module, name):
        problem = f"{name} is no function that a module defines by that name"
        raise BadInput("train", f"{problem}: workers, other processes, cannot import it", _REMEDY)
    return f"{train.__module__}:{name}"


def check(train: str) -> None:
    """Raise BadInput where the training function is not to be found from here, or takes others.

    It is read, not imported: that may take a GPU, and a minute.
    """
    module, _, function = train.partition(":")
    try:
        found = importlib.util.find_spec(module)
    except (ImportError, ValueError):  # the latter for modules that no file defines
        found = None
    if found is None:
        remedy = "start in the folder that holds it, or install it"
        raise BadInput("train", f"cannot import {module}", remedy)
    if found.origin and found.origin.endswith(".py"):
        _check_function(Path(found.origin), function)


def check_workers_find(train: str) -> None:
    """Raise BadInput where a module that this process has imported is not what a worker would.

    Workers look in this folder, in PYTHONPATH and among what is installed; a script or a notebook
    may have found it elsewhere.
    """
    module = train.partition(":")[0]
    here = getattr(sys.modules.get(module), "__file__", None)
    if train == OURS or here is None:
        return
    env = slurm.environment(os.environ, local=True)
    command = [sys.executable, "-c", _FIND, module]
    said = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    there = Path((said.stdout.splitlines() or ["None"])[-1])
    if not there.exists() or not there.samefile(here):
        found = f"find {there}" if there.exists() else "do not find it"
        problem = f"{module} is {here} here, and workers {found}"
        remedy = f"start in {Path(here).parent}, or put that folder into PYTHONPATH"
        raise BadInput("train", problem, remedy)


def _check_function(path: Path, name: str) -> None:
    """A function that a file defines takes our five arguments; one it gets elsewhere may be any."""
    try:
        top = ast.parse(path.read_text()).body
    except SyntaxError as error:
        raise BadInput("train", f"{path} is no Python ({error})", "mend that line") from None
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput("train", f"{path} cannot be read ({error})", "check the file") from None
    own = [node for node in top if isinstance(node, ast.FunctionDef) and node.name == name]
    if own and not _takes(own[-1].args, len(_ARGUMENTS)):
        remedy = f"write def {name}({', '.join(_ARGUMENTS)})"
        raise BadInput("train", f"{name} in {path} takes other arguments", remedy)
    text = path.read_text()
    if not own and not re.search(rf"\b{name}\b|import \*|__getattr__", text):
        raise BadInput("train", f"{path} has no {name}", "name a function that it defines")


def _takes(arguments: ast.arguments, n: int) -> bool:
    """Whether a function can be called with so many arguments by position."""
    places = len(arguments.posonlyargs) + len(arguments.args)
    needed = places - len(arguments.defaults)
    named = any(default is None for default in arguments.kw_defaults)
    return not named and needed <= n and (n <= places or arguments.vararg is not None)
