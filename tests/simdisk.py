"""A shared disk in memory, as several hosts see it: interrupted, forgetful and late.

It stands in for `os` in jobs/files.py. Every call is a step of the world, at which another actor
may go on, this one may die, or an error come back for something that happened all the same.
"""

import errno
import io
import os
from contextlib import suppress
from types import SimpleNamespace

STALE = 60.0  # seconds for which a host may show an old listing, or hold that a name is missing


class Inode:
    """A file's content, and how much of it is safe from a crash of the server."""

    __slots__ = ("data", "links", "mtime", "number", "synced", "writer")

    def __init__(self, number, now, writer):
        self.data = bytearray()
        self.links = 1
        self.mtime = now
        self.number = number
        self.synced = 0
        self.writer = writer  # the host that sees its own content at once


class Disk:
    """What jobs/files.py asks of `os`, and rmtree."""

    def __init__(self, world):
        self.world = world
        self.folders = {"": {}}  # path → name → inode
        self.guard = lambda path, inode: None  # called before a name is taken away or changed
        self.linked = lambda name: None  # called when a name was taken
        self._handles = {}
        self._count = 0
        self._listed = {}  # (host, folder) → when, names
        self._missing = {}  # (host, path) → when

    def __getattr__(self, name):
        return getattr(os, name)  # flags, umask

    def open(self, path, flags, mode=0):
        """A handle; a host may go on to hold that a name is missing."""
        path = str(path)
        self.world.step("open", path)
        if path in self.folders:
            return self._handle(path)
        folder, name = self._find(path)
        if name not in folder or self._believed_missing(path):
            if not flags & os.O_CREAT:
                self._missing.setdefault((self.world.host, path), self.world.now)
                raise FileNotFoundError(errno.ENOENT, "missing", path)
            folder.setdefault(name, self._inode())
            self._changed(path)
        elif flags & os.O_EXCL:
            raise FileExistsError(errno.EEXIST, "exists", path)
        return self._handle(folder[name])

    def write(self, handle, data):
        """Append, now and then only a part."""
        inode = self._handles[handle]
        self.world.step("write")
        size = len(data)
        if size > 1 and self.world.strikes("part"):
            size = self.world.random.randrange(1, size)
        inode.data += data[:size]
        inode.mtime = self.world.now
        self.world.after("write")
        return size

    def fsync(self, handle):
        """From now on the content survives a crash of the server."""
        inode = self._handles[handle]
        self.world.step("fsync")
        if isinstance(inode, Inode):
            inode.synced = len(inode.data)
        self.world.after("fsync", errno.EIO)

    def close(self, handle):
        """Forget a handle; no step, for it changes nothing."""
        self._handles.pop(handle, None)

    def fdopen(self, handle, mode):
        """A file to read; a host may show new content late, as no content or as zeros."""
        inode = self._handles.pop(handle)
        fresh = self.world.now - inode.mtime < STALE and self.world.host != inode.writer
        if fresh and self.world.strikes("late"):
            return io.BytesIO(self.world.random.choice((b"", bytes(len(inode.data)))))
        return io.BytesIO(bytes(inode.data))

    def link(self, source, target, follow_symlinks=True):
        """A second name for a file, if that name is free; the server decides."""
        source, target = str(source), str(target)
        self.world.step("link", target)
        folder, name = self._find(source)
        other, new = self._find(target)
        if name not in folder:
            raise FileNotFoundError(errno.ENOENT, "missing", source)
        if new in other:
            raise FileExistsError(errno.EEXIST, "exists", target)
        other[new] = folder[name]
        other[new].links += 1
        self._changed(target)
        self.linked(new)
        self.world.after("link", errno.EEXIST, target)

    def replace(self, source, target):
        """Give a file another name, whatever had it."""
        source, target = str(source), str(target)
        self.world.step("rename", target)
        folder, name = self._find(source)
        other, new = self._find(target)
        if name not in folder:
            raise FileNotFoundError(errno.ENOENT, "missing", source)
        if new in other:
            self._drop(target)
        other[new] = folder.pop(name)
        self._changed(source)
        self._changed(target)
        self.linked(new)
        self.world.after("rename", errno.ENOENT, target)

    def unlink(self, path):
        """Take a name away."""
        path = str(path)
        self.world.step("unlink", path)
        folder, name = self._find(path)
        if name not in folder:
            raise FileNotFoundError(errno.ENOENT, "missing", path)
        self._drop(path)
        self._changed(path)
        self.world.after("unlink", errno.ENOENT, path)

    def lstat(self, path):
        """What the server knows of a file."""
        path = str(path)
        self.world.step("stat", path)
        folder, name = self._find(path)
        if name not in folder:
            raise FileNotFoundError(errno.ENOENT, "missing", path)
        inode = folder[name]
        return SimpleNamespace(st_mtime=inode.mtime, st_nlink=inode.links, st_ino=inode.number)

    def listdir(self, path):
        """The names in a folder, as this host last saw them for up to a minute."""
        path = str(path)
        self.world.step("list", path)
        if path not in self.folders:
            raise FileNotFoundError(errno.ENOENT, "missing", path)
        key = (self.world.host, path)
        when, names = self._listed.get(key, (-STALE, ()))
        if self.world.now - when >= STALE or not self.world.strikes("stale"):
            names = list(self.folders[path])
            self.world.random.shuffle(names)
            self._listed[key] = (self.world.now, names)
        return list(names)

    def makedirs(self, path, mode=0o777, exist_ok=False):
        """A folder and those above it."""
        path = str(path)
        self.world.step("mkdir", path)
        while path not in self.folders:
            self.folders[path] = {}
            above, _, name = path.rpartition("/")
            self._changed(path)
            self.folders.setdefault(above, {})[name] = self._inode()
            path = above

    def rmtree(self, path, ignore_errors=False):
        """A folder and all below it, name by name."""
        with suppress(OSError):
            for name in self.listdir(path):
                with suppress(OSError):
                    self.unlink(f"{path}/{name}")
        above, _, name = str(path).rpartition("/")
        if not self.folders.get(str(path), True):
            del self.folders[str(path)]
            self.folders[above].pop(name, None)

    def crash(self):
        """The server loses what nobody synced: cut off, or zeros in its place.

        Who still has a file open sends it again.
        """
        held = list(self._handles.values())
        for inode in (inode for folder in self.folders.values() for inode in folder.values()):
            lost = len(inode.data) - inode.synced
            if inode in held or not lost:
                continue
            if self.world.random.random() < 0.5:
                inode.data[inode.synced :] = bytes(lost)
            else:
                del inode.data[inode.synced + self.world.random.randrange(lost) :]

    def content(self, path):
        """A file's bytes as the server has them, or None; no step."""
        folder, _, name = str(path).rpartition("/")
        inode = self.folders.get(folder, {}).get(name)
        return None if inode is None else bytes(inode.data)

    def _find(self, path):
        folder, _, name = path.rpartition("/")
        if folder not in self.folders:
            raise FileNotFoundError(errno.ENOENT, "no such folder", path)
        return self.folders[folder], name

    def _drop(self, path):
        folder, name = self._find(path)
        self.guard(path, folder[name])
        folder.pop(name).links -= 1

    def _changed(self, path):
        """Its own changes a host sees at once."""
        self._listed.pop((self.world.host, path.rpartition("/")[0]), None)
        self._missing.pop((self.world.host, path), None)

    def _believed_missing(self, path):
        since = self._missing.get((self.world.host, path), -STALE)
        if self.world.now - since < STALE and self.world.strikes("stale"):
            return True
        self._missing.pop((self.world.host, path), None)
        return False

    def _handle(self, target):
        handle = self._number()
        self._handles[handle] = target
        return handle

    def _inode(self):
        return Inode(self._number(), self.world.now, self.world.host)

    def _number(self):
        self._count += 1
        return self._count
