"""slurm/cluster.sh gives a Slurm that tests can trust, and disturbs nothing else on the machine."""

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.slurm_cluster import (
    PORT,
    SCRIPT,
    Cluster,
    a_cluster,
    call_script,
    wait_for,
    why_not,
)

pytestmark = [pytest.mark.slurm, pytest.mark.skipif(bool(why_not()), reason=why_not())]


def submit_slots(cluster: Cluster, n: int) -> Path:
    """Submit n jobs that write their GPU slot into the returned folder and wait there for `go`."""
    folder = Path(cluster.run(["mktemp", "-d", "-p", str(cluster.project)]).stdout.strip())
    job = f"""
        cd {folder}
        echo $SLURMD_NODENAME $CUDA_VISIBLE_DEVICES >draft-$SLURM_ARRAY_TASK_ID
        mv draft-$SLURM_ARRAY_TASK_ID slot-$SLURM_ARRAY_TASK_ID
        until [ -e go ]; do sleep 0.1; done
    """
    cluster.sbatch("--job-name=slots", f"--array=1-{n}", "--gres=gpu:1", "--wrap", job)
    return folder


def states(cluster: Cluster, name: str) -> list[str]:
    """Return the states of the jobs of this name, sorted."""
    return sorted(row["State"] for row in cluster.squeue("--name", name))


def end_of(cluster: Cluster, *options: str) -> dict[str, dict[str, str]]:
    """Submit a job, wait until it is accounted as ended, and return its rows by step, "" first."""
    job = cluster.sbatch(*options)

    def ended() -> dict[str, dict[str, str]]:
        found = {row["JobID"]: row for row in cluster.sacct("-j", job)}
        alive = {"PENDING", "RUNNING"}
        return found if found and alive.isdisjoint(r["State"] for r in found.values()) else {}

    return {name.removeprefix(job): row for name, row in wait_for(ended).items()}


def processes_of(folder: Path) -> list[str]:
    """Return the command names of the living processes that use the cluster in this folder."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if f"SLURM_CONF={folder}/slurm.conf".encode() in (process / "environ").read_bytes():
                found.append((process / "comm").read_text().strip())
        except OSError:  # it has just ended
            continue
    return found


def test_eight_gpu_slots_run_eight_jobs_at_once_and_the_ninth_waits(cluster):
    """Four nodes of two GPUs hold eight one-GPU jobs, no two of them on the same GPU."""
    folder = submit_slots(cluster, 9)
    slots = wait_for(lambda: len(found := list(folder.glob("slot-*"))) >= 8 and found)
    assert states(cluster, "slots") == ["PENDING"] + ["RUNNING"] * 8
    used = sorted(tuple(slot.read_text().split()) for slot in slots)
    assert used == [(f"n{node}", gpu) for node in range(1, 5) for gpu in "01"]
    (folder / "go").touch()
    wait_for(lambda: states(cluster, "slots") == ["COMPLETED"] * 9)


def test_eight_jobs_leave_room_for_a_controller(cluster):
    """A job without a GPU, such as the controller, starts while all GPUs are taken."""
    folder = submit_slots(cluster, 8)
    cluster.sbatch("--job-name=controller", "--wrap", "sleep 600")
    wait_for(lambda: states(cluster, "controller") == ["RUNNING"])
    wait_for(lambda: len(list(folder.glob("slot-*"))) == 8)


def test_accounting_knows_the_gpu_and_the_end_of_each_job(cluster):
    """What sacct says of ended jobs is there to be read: GPUs, states and exit codes."""
    fine = end_of(cluster, "--gres=gpu:1", "--wrap", "true")[""]
    assert (fine["State"], fine["ExitCode"]) == ("COMPLETED", "0:0")
    assert "gres/gpu=1" in fine["AllocTRES"].split(",")
    failed = end_of(cluster, "--wrap", "exit 3")[""]
    assert (failed["State"], failed["ExitCode"]) == ("FAILED", "3:0")


def test_a_job_beyond_its_memory_is_ended_by_slurm(cluster):
    """A step that takes more than --mem is OUT_OF_MEMORY, where the machine can limit memory."""
    if "memory limits: none" in cluster.script("status").stdout:
        pytest.skip("no memory controller of cgroup v1 on this machine")
    step = f"srun {cluster.python} -c 'b\"x\" * (300 << 20)'"
    assert end_of(cluster, "--mem=100M", "--wrap", step)[".0"]["State"] == "OUT_OF_MEMORY"


def test_a_job_of_the_higher_partition_requeues_one_of_the_lower(cluster):
    """Preemption ends a job of `main`, which waits and starts again later."""
    cluster.sbatch("--job-name=low", "--nodelist=n1", "--wrap", "sleep 600")
    wait_for(lambda: states(cluster, "low") == ["RUNNING"])
    cluster.sbatch("--partition=hi", "--nodelist=n1", "--exclusive", "--wrap", "sleep 600")
    (low,) = wait_for(lambda: cluster.squeue("--name=low", "--states=PENDING"))
    assert low["RestartCnt"] == "1"


def test_up_twice_is_one_cluster(cluster):
    """A second `up` starts nothing, and prints the same line to eval."""
    before = cluster.pids()
    assert cluster.up() == f"export SLURM_CONF={cluster.folder}/slurm.conf\n"
    assert cluster.pids() == before


def test_up_starts_again_what_died(cluster):
    """After the loss of a node's daemon, `up` restarts that one and nothing else."""
    before = cluster.pids()
    os.kill(before["n4"], signal.SIGKILL)
    folder = str(cluster.folder)
    wait_for(lambda: "n4 does not run" in call_script("status", "--folder", folder).stdout)
    cluster.up()
    after = cluster.pids()
    assert {name for name in before if before[name] != after[name]} == {"n4"}


def test_down_ends_all_of_its_own_and_nothing_else(cluster):
    """After `down` no process, folder or user of that cluster is left, and another one goes on."""
    before = cluster.pids()
    with a_cluster(f"{cluster.user}-b", PORT + 10, "--nodes", "1", "--no-accounting") as other:
        other.sbatch("--wrap", "sleep 600 & wait")
        wait_for(lambda: "sleep" in processes_of(other.folder))
        other.script("down")
        assert processes_of(other.folder) == []
        assert not other.folder.exists()
        assert other.user not in {user.pw_name for user in pwd.getpwall()}
    assert cluster.pids() == before
    assert "does not run" not in cluster.script("status").stdout


def test_up_refuses_a_machine_with_a_configuration_of_its_own(tmp_path):
    """Where /etc/slurm holds a slurm.conf, nothing is started and nothing is made."""
    (tmp_path / "slurm.conf").write_text("ClusterName=real\n")
    bind = ["unshare", "--mount", "sh", "-c", 'mount --bind "$0" /etc/slurm && exec "$@"', tmp_path]
    assert "a Slurm of its own (/etc/slurm/slurm.conf)" in refusal(prefix=bind)


def test_up_refuses_a_shell_that_uses_another_slurm(tmp_path):
    """A SLURM_CONF that is not a throw-away cluster's is left alone."""
    (tmp_path / "slurm.conf").write_text("ClusterName=real\n")
    assert "names another Slurm" in refusal(prefix=["env", f"SLURM_CONF={tmp_path}/slurm.conf"])


def test_up_refuses_beside_a_daemon_of_another_slurm(tmp_path):
    """A slurmctld that no throw-away cluster started is taken for a real one."""
    shutil.copy("/bin/sleep", tmp_path / "slurmctld")
    with subprocess.Popen([tmp_path / "slurmctld", "600"], env={}) as daemon:
        try:
            assert f"(process {daemon.pid})" in refusal()
        finally:
            daemon.kill()


def test_up_names_a_port_that_is_in_use():
    """A taken port is found before anything is made, and named."""
    with socket.create_server(("127.0.0.1", PORT + 12)):
        assert f"port {PORT + 12} is in use; choose other ports with --port" in refusal()


def test_up_refuses_a_folder_that_users_cannot_enter(tmp_path):
    """A cluster below a closed folder could run no job, and is not begun."""
    tmp_path.chmod(0o700)
    assert "ordinary users cannot enter" in refusal("--folder", str(tmp_path / "slurm"))


def test_only_root_can_start_a_cluster():
    """An ordinary user is told what is missing, in one line."""
    assert "only root" in refusal(prefix=["runuser", "-u", "nobody", "--"])


@pytest.mark.parametrize("argv", [[], ["start"], ["up", "--nodes"], ["up", "--nodes", "many"]])
def test_a_wrong_command_line_gets_the_usage(argv):
    """Wrong arguments end with 2 and with how to use it, and start nothing."""
    answer = call_script(*argv)
    assert (answer.returncode, answer.stdout) == (2, "")
    assert 'eval "$(slurm/cluster.sh up)"' in answer.stderr


def refusal(*options: str, prefix: Sequence[str | Path] = ()) -> str:
    """Let `up` fail, assert that it changed nothing, and return the one line that it said."""
    folder = Path(tempfile.gettempdir()) / f"tuner-refused-{os.getpid()}"
    users = pwd.getpwall()
    argv = [*prefix, SCRIPT, "up", "--folder", folder, "--port", str(PORT + 10), *options]
    answer = subprocess.run(argv, text=True, capture_output=True, check=False)
    assert (answer.returncode, answer.stdout) == (1, "")
    assert not folder.exists()
    assert pwd.getpwall() == users
    (line,) = answer.stderr.splitlines()
    return line
