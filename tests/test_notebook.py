"""run(study) in a notebook: a real kernel, its display, its interrupt; and the display's parts."""

import os
import re
import sys
from types import SimpleNamespace
from xml.etree import ElementTree

import nbformat
import pytest
from nbclient import NotebookClient

from jobs.contract import State
from tests import made
from tests.slurm_cluster import REPOSITORY
from tuner import notebook, store

MODEL = """%%writefile mymodel.py
import time
from pathlib import Path

def train(params, data, report, checkpoint, seed):
    for step in range(2):
        report(step, value=params["x"] ** 2)
    while not Path("go").exists():  # a training takes its time
        report(1, value=params["x"] ** 2)
        time.sleep(0.05)
    return params["x"] ** 2"""
STUDY = """
from mymodel import train
from tuner import BadInput, Float, Jobs, Space, Study
from tuner.run import run

study = Study(
    name="by-hand", direction="minimize", n_trials=6,
    space=Space({"x": Float(-2, 3)}), train=train, sampler="random",
    jobs=Jobs(n_workers=2, grace=0.2),
)"""
RUN = """
ran = run(study)
print("value", repr(ran.best_value))"""
OWN = """
def own(params, data, report, checkpoint, seed):
    return 0.0

try:
    Study(name="own", direction="minimize", n_trials=1, space=study.space, train=own)
except BadInput as error:
    print(error)"""
INTERRUPT = """
import os, signal, threading, time
from pathlib import Path

def press():
    while not list(Path("runs").glob("by-hand/open/*.metrics.jsonl")):
        time.sleep(0.05)
    os.kill(os.getpid(), signal.SIGINT)  # what Jupyter's button does

presser = threading.Thread(target=press)
presser.start()
try:
    run(study)
except KeyboardInterrupt as error:
    print("left;", error)
presser.join()
Path("go").touch()"""


class Client(NotebookClient):
    """Notes what kinds of messages the kernel sent for which cell."""

    def process_message(self, msg, cell, cell_index):
        """One of them."""
        self.__dict__.setdefault("kinds", []).append((cell_index, msg["msg_type"]))
        return super().process_message(msg, cell, cell_index)


def execute(folder, *cells):
    """The notebook of some cells after its execution in a folder, and the kinds of messages."""
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    client = Client(
        book, timeout=300, kernel_name="python3", resources={"metadata": {"path": str(folder)}}
    )
    environment = {
        **os.environ, "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1",
        "IPYTHONDIR": str(folder / "ipython"), "JUPYTER_RUNTIME_DIR": str(folder / "runtime"),
    }  # fmt: skip
    client.execute(env=environment)
    return book.cells, client.kinds


def printed(cell, name="stdout"):
    """What a cell wrote to a stream."""
    return "".join(part.text for part in cell.outputs if part.get("name") == name)


@pytest.mark.slow
def test_a_notebook_shows_how_its_study_is_doing(tmp_path):
    """One display, written over as results come, that ends with the best; and no bar or log."""
    (tmp_path / "go").touch()
    cells, kinds = execute(tmp_path, MODEL, STUDY, RUN)
    best = min(store.Store(tmp_path / "runs" / "by-hand").trials(), key=lambda t: t.value)
    assert f"value {best.value!r}" in printed(cells[2])
    assert printed(cells[2], "stderr") == ""
    of_run = [kind for index, kind in kinds if index == 2]
    assert of_run.count("display_data") == 1
    assert of_run.count("update_display_data") >= 2
    (shown,) = [part.data for part in cells[2].outputs if part.output_type == "display_data"]
    words = f"best {best.value:.6g} (#{best.number}) · 0 running · 0 waiting"
    assert words in shown["text/html"]
    assert "6/6" in shown["text/html"]
    assert words.replace(" · ", "  ") in shown["text/plain"]


@pytest.mark.slow
def test_the_kernels_interrupt_leaves_a_run_that_the_same_cell_goes_on_with(tmp_path):
    """As KeyboardInterrupt; a function of the notebook's own is refused with what to do."""
    cells, _ = execute(tmp_path, MODEL, STUDY, OWN, INTERRUPT, RUN)
    assert "train: own is known to this process alone" in printed(cells[2])
    assert "%%writefile mymodel.py" in printed(cells[2])
    folder = tmp_path / "runs" / "by-hand"
    assert f"left; to go on: python -m tuner.resume {folder}" in printed(cells[3])
    assert "nothing is lost" in printed(cells[3], "stderr")
    trials = store.Store(folder).trials()
    assert {trial.state for trial in trials} == {State.COMPLETE}
    assert len(trials) == 6
    assert f"value {min(trial.value for trial in trials)!r}" in printed(cells[4])


@pytest.fixture
def kernel(monkeypatch):
    """A stand-in for IPython with a shell, as sys.modules has it in a kernel."""
    shell = SimpleNamespace(kernel=object())
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))
    return shell


@pytest.mark.fast
def test_a_kernel_is_told_from_a_terminal(kernel, monkeypatch):
    """IPython on a terminal keeps the bar, and nobody imports IPython to find out."""
    assert notebook.card(made.study()) is not None
    del kernel.kernel
    assert notebook.card(made.study()) is None
    monkeypatch.delitem(sys.modules, "IPython")
    assert notebook.card(made.study()) is None
    assert "IPython" not in sys.modules


@pytest.mark.fast
def test_what_a_run_holds_is_no_markup():
    """Slurm's words and a study's name are text."""
    page = notebook.page(made.study(name="s"), [], 0, "queued: <script>&", "<i> left")
    assert "<script>" not in page
    assert "queued: &lt;script&gt;&amp;" in page
    assert "<i>" not in page
    ElementTree.fromstring(page)


@pytest.mark.fast
@pytest.mark.parametrize(("direction", "values", "best"), [
    ("minimize", [3.0, 5.0, float("nan"), 1.0], [3.0, 3.0, 1.0]),
    ("maximize", [3.0, 5.0, float("inf"), 1.0], [3.0, 5.0, 5.0]),
])  # fmt: skip
def test_the_best_so_far_follows_the_direction(direction, values, best):
    """Diverged, failed, running and testing trials are none of it."""
    trials = [made.trial(i, value) for i, value in enumerate(values)]
    trials += [
        made.trial(4, -9.0, State.PRUNED), made.trial(5, None, State.RUNNING),
        made.trial(6, 99.0, part="test"),
    ]  # fmt: skip
    study = made.study(direction=direction)
    assert notebook.best_so_far(study, trials) == best
    assert notebook.line(best) in notebook.page(study, trials, 4, "", "")


@pytest.mark.fast
def test_the_line_runs_from_edge_to_edge():
    """The highest value at the top; however many there are, it stays short."""
    assert notebook.line([1.0]) == ""
    assert points([2.0, 1.0]) == [(2.0, 2.0), (318.0, 46.0)]
    assert {y for _, y in points([1.0] * 3)} == {2.0}
    many = points([float(-i) for i in range(100_000)])
    assert len(many) == 200
    assert (many[0], many[-1]) == ((2.0, 2.0), (318.0, 46.0))


def points(values):
    """The corners of a drawn line."""
    (found,) = re.findall(r'points="([^"]*)"', notebook.line(values))
    return [tuple(map(float, pair.split(","))) for pair in found.split()]
