"""The files module: whole or none, one winner, late but never wrong."""

import errno
import os

import pytest

from jobs import doors, files

pytestmark = pytest.mark.fast


def test_the_first_writer_of_a_name_wins(tmp_path):
    """A second writer is told so, and changes nothing."""
    path = tmp_path / "000001.result.json"
    assert files.write_once(path, {"value": 1})
    assert not files.write_once(path, {"value": 2})
    assert files.read(path)["value"] == 1


def test_a_writer_whose_reply_was_lost_knows_that_it_won(tmp_path, monkeypatch):
    """On NFS `link` may happen and report an error."""
    link = os.link

    def lossy(source, target, **options):
        link(source, target, **options)
        raise FileExistsError(errno.EEXIST, "the retransmission found our own link")

    monkeypatch.setattr(os, "link", lossy)
    assert files.write_once(tmp_path / "a.json", {"value": 1})


def lossy(call, code):
    """A call of os that happens and then reports an error, as NFS does that lost a reply."""

    def called(*arguments, **options):
        call(*arguments, **options)
        raise OSError(code, "the reply was lost")

    return called


@pytest.mark.parametrize("code", [errno.ENOENT, errno.EIO])
def test_a_lost_reply_of_rename_is_no_error(tmp_path, monkeypatch, code):
    """What happened is not undone by the error: a checkpoint is there, and no trial fails."""
    monkeypatch.setattr(os, "replace", lossy(os.replace, code))
    files.replace(tmp_path / "a", b"new")
    assert (tmp_path / "a").read_bytes() == b"new"


def test_weights_are_shared_though_replies_are_lost(tmp_path, monkeypatch):
    """Both the link and the rename."""
    (tmp_path / "a").write_bytes(b"weights")
    monkeypatch.setattr(os, "link", lossy(os.link, errno.EEXIST))
    monkeypatch.setattr(os, "replace", lossy(os.replace, errno.ENOENT))
    files.share(tmp_path / "a", tmp_path / "b")
    assert (tmp_path / "b").read_bytes() == b"weights"


def test_a_name_once_won_is_not_lost_to_oneself(tmp_path, monkeypatch):
    """The folder's fsync may fail: it alone is tried again, under the same nonce."""
    monkeypatch.setattr(files.time, "sleep", lambda seconds: None)
    errors = iter([None, OSError(errno.EIO, "away"), OSError(errno.ENOSPC, "full"), None])

    def fsync(handle):
        if (error := next(errors)) is not None:
            raise error

    monkeypatch.setattr(os, "fsync", fsync)
    assert files.write_once(tmp_path / "a.json", {"value": 1})


def test_a_backup_that_links_a_draft_wins_no_race(tmp_path, monkeypatch):
    """`cp -al` gives it a second name: whose the file is, its nonce says."""
    files.write_once(tmp_path / "a.json", {"value": 1})
    link = os.link

    def backed_up(source, target):
        link(source, tmp_path / "copy")
        link(source, target)

    monkeypatch.setattr(os, "link", backed_up)
    assert not files.write_once(tmp_path / "a.json", {"value": 2})


def test_a_name_that_was_taken_and_swept_is_a_lost_race(tmp_path, monkeypatch):
    """It existed when we linked and is gone when we look whose it was: no error."""
    monkeypatch.setattr(os, "link", lossy(lambda source, target: None, errno.EEXIST))
    assert not files.write_once(tmp_path / "a.json", {"value": 1})


def test_a_folder_without_hard_links_is_refused(tmp_path, monkeypatch):
    """The error is the file system's own, not a lost race."""

    def refuse(source, target, **options):
        raise PermissionError(errno.EPERM, "no hard links here")

    monkeypatch.setattr(os, "link", refuse)
    with pytest.raises(PermissionError):
        files.write_once(tmp_path / "a.json", {})
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("call", ["write", "fsync", "link"])
def test_a_failed_write_leaves_nothing(tmp_path, monkeypatch, call):
    """A full disk shows at write or fsync: no draft and no name stay behind."""

    def full(*arguments, **options):
        raise OSError(errno.ENOSPC, "no space left")

    with monkeypatch.context() as patch:
        patch.setattr(os, call, full)
        with pytest.raises(OSError, match="no space"):
            files.write_once(tmp_path / "a.json", {"value": 1})
    assert os.listdir(tmp_path) == []


def test_a_torn_line_spoils_no_other(tmp_path):
    """A crash in the middle of a line loses that line alone."""
    path = tmp_path / "metrics.jsonl"
    files.append(path, {"step": 0})
    with path.open("ab") as file:
        file.write(b'\n{"step": 1, "va')
    files.append(path, {"step": 2})
    assert [record["step"] for record in files.read_lines(path)] == [0, 2]


@pytest.mark.parametrize("content", [b"", b"\0" * 64, b'{"value": 1', b"[1]"])
def test_what_a_crashed_server_left_counts_as_missing(tmp_path, content):
    """Empty, NUL-filled or torn files are no records."""
    path = tmp_path / "a.json"
    path.write_bytes(content)
    assert files.read(path) is None


def test_symlinks_are_not_followed(tmp_path):
    """Somebody else's link in a run's folder leads nowhere."""
    (tmp_path / "secret.json").write_text('{"value": 1}')
    (tmp_path / "link.json").symlink_to(tmp_path / "secret.json")
    assert files.read(tmp_path / "link.json") is None
    with pytest.raises(OSError, match="symbolic links"):
        files.append(tmp_path / "link.json", {})


def test_files_are_for_their_owner_alone_to_write(tmp_path):
    """Whatever the umask says; whether others may look is said by the run's folder."""
    folder = tmp_path / "run"
    before = os.umask(0)
    try:
        files.make_folder(folder)
        files.write_once(folder / "a.json", {})
        files.append(folder / "b.jsonl", {})
        files.replace(folder / "c.pt", b"")
    finally:
        os.umask(before)
    modes = {path.name: path.stat().st_mode & 0o777 for path in (folder, *folder.iterdir())}
    assert modes == {"run": 0o750, "a.json": 0o640, "b.jsonl": 0o640, "c.pt": 0o640}


def test_what_is_tidied_while_a_run_is_opened_is_no_error(tmp_path, monkeypatch):
    """A run at work loses folders of ended jobs at any moment."""
    files.make_folder(tmp_path / "run" / "gone")
    files.make_folder(tmp_path / "run" / "stays")
    real = os.walk

    def walk(folder, topdown):
        for where, inside, held in real(folder, topdown=topdown):
            if where.endswith("gone"):
                os.rmdir(where)
            yield where, inside, [*held, "gone.json"]

    monkeypatch.setattr(os, "walk", walk)
    doors.open_to(tmp_path / "run", os.getgid())
    assert (tmp_path / "run").stat().st_mode & 0o7777 == 0o2750
    assert (tmp_path / "run" / "stays").stat().st_mode & 0o7777 == 0o2750


def test_patience_outlasts_a_full_disk_but_no_other_error(tmp_path, monkeypatch):
    """A full disk is waited for; a missing folder is not."""
    monkeypatch.setattr(files.time, "sleep", lambda seconds: None)
    answers = iter([OSError(errno.ENOSPC, "full"), OSError(errno.ESTALE, "stale"), 7])

    def action():
        answer = next(answers)
        if isinstance(answer, OSError):
            raise answer
        return answer

    assert files.patiently(action) == 7
    with pytest.raises(FileNotFoundError):
        files.patiently(lambda: files.replace(tmp_path / "gone" / "a", b""))


def test_old_drafts_are_swept_and_young_ones_are_not(tmp_path):
    """A draft younger than an hour may still be linked."""
    old, young = tmp_path / f"{files.DRAFT}old", tmp_path / f"{files.DRAFT}young"
    old.touch()
    young.touch()
    os.utime(old, (0, 0))
    files.sweep_drafts(tmp_path)
    assert os.listdir(tmp_path) == [young.name]
