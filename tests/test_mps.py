"""Workers that share a GPU: with a daemon of the job's own, and without one."""

import json
import os
import sys

import pytest

from jobs import mps

pytestmark = pytest.mark.fast
FAKE = """#!{python}
import json, os, sys
place = os.environ["CUDA_MPS_PIPE_DIRECTORY"]
said = "" if "-d" in sys.argv else sys.stdin.read()
with open({log!r}, "a") as file:
    print(json.dumps([sys.argv[1:], said, place, os.path.isdir(place)]), file=file)
print("no GPU", file=sys.stderr)
sys.exit({rc})
"""


@pytest.fixture
def daemon(tmp_path, monkeypatch):
    """A control program that notes how it was called; a job with a GPU."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")

    def make(rc):
        path = tmp_path / "nvidia-cuda-mps-control"
        path.write_text(FAKE.format(python=sys.executable, log=str(tmp_path / "log"), rc=rc))
        path.chmod(0o755)

    def calls():
        path = tmp_path / "log"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    make(0)
    return make, calls


def test_each_job_has_a_daemon_of_its_own_that_ends_with_it(daemon):
    """Two jobs on a node do not meet; nothing stays."""
    _, calls = daemon
    with mps.shared() as one, mps.shared() as other:
        assert one["CUDA_MPS_PIPE_DIRECTORY"] != other["CUDA_MPS_PIPE_DIRECTORY"]
        assert one["CUDA_VISIBLE_DEVICES"] == "0"
        assert [words for words, *_ in calls()] == [["-d"], ["-d"]]
    places = {env["CUDA_MPS_PIPE_DIRECTORY"] for env in (one, other)}
    ends = calls()[2:]
    assert {place for _, said, place, there in ends if said == "quit\n" and there} == places
    assert not any(map(os.path.exists, places))


def test_a_daemon_that_does_not_start_is_done_without(daemon, capsys):
    """One line in the log, and the workers train all the same."""
    make, calls = daemon
    make(1)
    with mps.shared() as environment:
        assert environment == dict(os.environ)
    assert "without MPS: no GPU" in capsys.readouterr().out
    assert len(calls()) == 1


@pytest.mark.parametrize("lacks", ["CUDA_VISIBLE_DEVICES", "PATH"])
def test_without_a_gpu_or_without_mps_there_is_none(daemon, monkeypatch, lacks):
    """A job on CPUs, or a cluster that has none."""
    _, calls = daemon
    monkeypatch.setenv(lacks, "")
    with mps.shared() as environment:
        assert "CUDA_MPS_PIPE_DIRECTORY" not in environment
    assert calls() == []


def test_a_training_that_fails_leaves_no_daemon(daemon):
    """The error goes on, the daemon ends."""
    _, calls = daemon
    with pytest.raises(RuntimeError, match="all workers"), mps.shared():
        raise RuntimeError("all workers failed")
    assert calls()[-1][1] == "quit\n"
