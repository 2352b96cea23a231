"""Two ordinary users for tests: `users` makes them, and takes them away at the end."""

import os
import pwd
import shutil
import subprocess
import tempfile
from contextlib import contextmanager
from pathlib import Path

import pytest


class User:
    """An ordinary user with a home of their own."""

    def __init__(self, name, home):
        self.name = name
        self.home = home
        self.uid = pwd.getpwnam(name).pw_uid
        self.gid = pwd.getpwnam(name).pw_gid
        self.groups = []  # further ones

    @contextmanager
    def acting(self, umask=0o022):
        """What this process does inside, this user does."""
        before = os.getgroups(), os.getegid(), os.geteuid(), os.umask(umask)
        os.setgroups(self.groups)
        os.setegid(self.gid)
        os.seteuid(self.uid)
        try:
            yield self
        finally:
            os.seteuid(before[2])
            os.setegid(before[1])
            os.setgroups(before[0])
            os.umask(before[3])


@pytest.fixture(scope="session")
def _accounts():
    """The two accounts, and a folder like /tmp for them."""
    if os.geteuid() != 0:
        pytest.skip("only root can act as two users")
    if shutil.which("useradd") is None:
        pytest.skip("useradd is not installed")
    base = Path(tempfile.mkdtemp(prefix="tuner-users-"))  # not under tmp_path: that is root's alone
    base.chmod(0o1777)
    names = [f"tuner-{who}-{os.getpid()}" for who in ("alice", "mallory")]
    try:
        for name in names:
            command = ["useradd", "-U", "-M", "-d", base / name, "-s", "/bin/sh", name]
            subprocess.run(command, check=True)
        yield base, names
    finally:
        for name in names:
            subprocess.run(["userdel", name], check=False, capture_output=True)
        shutil.rmtree(base)


@pytest.fixture
def users(_accounts):
    """Alice and Mallory, with empty homes that others can look into."""
    base, names = _accounts
    for name in names:
        (base / name).mkdir()
        (base / name).chmod(0o755)  # whatever umask an earlier test left
        shutil.chown(base / name, name, name)
    yield [User(name, base / name) for name in names]
    for path in base.iterdir():
        path.unlink() if path.is_symlink() or path.is_file() else shutil.rmtree(path)
