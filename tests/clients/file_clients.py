"""Clients of the drive and the NFS door: the kernel, libnfs, and the programs that come with libnfs."""

import ctypes
import os
import pathlib
import re

from door_client import Cannot, Client, Seen, digest, relative

# The argument order of read and write changed with version 6 (.so.16).
LIBRARIES = ("libnfs.so.13", "libnfs.so.14")
IS_DIRECTORY = 0o040000


class Drive(Client):
    """Plain system calls on the mounted name space."""

    name, door, package = "drive", "mount", "the server must be started with --mount"

    def at(self, path):
        return pathlib.Path(self.doors["mount"]["path"] + path)

    def put(self, path, source):
        with open(self.at(path), "wb") as file:
            file.write(source.read_bytes())

    def rename(self, old, new):
        os.rename(self.at(old), self.at(new))

    def remove(self, path):
        os.remove(self.at(path))

    def mkdir(self, path):
        os.mkdir(self.at(path))

    def rmdir(self, path):
        os.rmdir(self.at(path))

    def truncate(self, path, size):
        os.truncate(self.at(path), size)

    def write_at(self, path, offset, data):
        with open(self.at(path), "r+b") as file:
            file.seek(offset)
            file.write(data)

    def append(self, path, data):
        with open(self.at(path), "ab") as file:
            file.write(data)

    def set_mtime(self, path, when):
        os.utime(self.at(path), (when, when))

    def directories(self, folder):
        return {str(path.relative_to(self.at(folder))) for path in self.at(folder).rglob("*") if path.is_dir()}

    def tree(self, folder):
        found = {}
        for path in self.at(folder).rglob("*"):
            if path.is_file():
                data, stat = path.read_bytes(), path.stat()
                found[str(path.relative_to(self.at(folder)))] = Seen(
                    digest(data), len(data), int(stat.st_mtime), None, stat.st_size
                )
        return found


class Stat(ctypes.Structure):
    """`struct nfs_stat_64` of nfsc/libnfs.h."""

    _fields_ = [
        (name, ctypes.c_uint64)
        for name in (
            "dev", "ino", "mode", "nlink", "uid", "gid", "rdev", "size", "blksize", "blocks", "atime", "mtime", "ctime",
            "atime_nsec", "mtime_nsec", "ctime_nsec", "used",
        )
    ]


class Entry(ctypes.Structure):
    """The beginning of `struct nfsdirent`."""

    _fields_ = [("next", ctypes.c_void_p), ("name", ctypes.c_char_p)]


class Url(ctypes.Structure):
    """`struct nfs_url`."""

    _fields_ = [("server", ctypes.c_char_p), ("path", ctypes.c_char_p), ("file", ctypes.c_char_p)]


class Timeval(ctypes.Structure):
    """`struct timeval`."""

    _fields_ = [("seconds", ctypes.c_long), ("micros", ctypes.c_long)]


def load():
    for name in LIBRARIES:
        try:
            library = ctypes.CDLL(name)
        except OSError:
            continue
        library.nfs_init_context.restype = ctypes.c_void_p
        library.nfs_get_error.restype = ctypes.c_char_p
        library.nfs_parse_url_dir.restype = ctypes.POINTER(Url)
        library.nfs_readdir.restype = ctypes.POINTER(Entry)
        return library
    return None


def nfs_url(nfs: dict, path: str) -> str:
    return f"nfs://{nfs['host']}{path}?nfsport={nfs['port']}&mountport={nfs['mount_port']}"


class LibNfs(Client):
    """The library, with all buckets mounted."""

    name, door, package = "libnfs", "nfs", "Debian: libnfs13"
    read_bytes = 1 << 20

    @classmethod
    def missing(cls, doors):
        return super().missing(doors) or (None if load() else f"{LIBRARIES[0]} not installed ({cls.package})")

    def __init__(self, doors, scratch):
        super().__init__(doors, scratch)
        self.library = load()
        self.context = ctypes.c_void_p(self.library.nfs_init_context())
        url = self.library.nfs_parse_url_dir(self.context, nfs_url(doors["nfs"], "/").encode())
        assert url, self.library.nfs_get_error(self.context)
        self.call("nfs_mount", url.contents.server, url.contents.path)

    def call(self, function, *arguments):
        result = getattr(self.library, function)(self.context, *arguments)
        if result < 0:
            said = self.library.nfs_get_error(self.context).decode(errors="replace")
            raise OSError(-result, f"libnfs {function}{arguments[:1]}: {said}")
        return result

    def open(self, path, flags, mode=0o644):
        handle = ctypes.c_void_p()
        self.call("nfs_open2", path.encode(), flags, mode, ctypes.byref(handle))
        return handle

    def write(self, handle, offset, data):
        while data:
            part = data[: self.read_bytes]
            count = self.call("nfs_pwrite", handle, ctypes.c_uint64(offset), ctypes.c_uint64(len(part)), part)
            offset, data = offset + count, data[count:]

    def put(self, path, source):
        handle = self.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        self.write(handle, 0, source.read_bytes())
        self.call("nfs_fsync", handle)
        self.call("nfs_close", handle)

    def rename(self, old, new):
        self.call("nfs_rename", old.encode(), new.encode())

    def remove(self, path):
        self.call("nfs_unlink", path.encode())

    def mkdir(self, path):
        self.call("nfs_mkdir", path.encode())

    def rmdir(self, path):
        self.call("nfs_rmdir", path.encode())

    def truncate(self, path, size):
        self.call("nfs_truncate", path.encode(), ctypes.c_uint64(size))

    def write_at(self, path, offset, data):
        handle = self.open(path, os.O_WRONLY)
        self.write(handle, offset, data)
        self.call("nfs_close", handle)

    def append(self, path, data):
        handle = self.open(path, os.O_WRONLY | os.O_APPEND)
        self.call("nfs_write", handle, ctypes.c_uint64(len(data)), data)
        self.call("nfs_close", handle)

    def set_mtime(self, path, when):
        times = (Timeval * 2)(Timeval(when, 0), Timeval(when, 0))
        self.call("nfs_utimes", path.encode(), times)

    def stat(self, path):
        stat = Stat()
        self.call("nfs_stat64", path.encode(), ctypes.byref(stat))
        return stat

    def read(self, path):
        handle, data = self.open(path, os.O_RDONLY), bytearray()
        buffer = ctypes.create_string_buffer(self.read_bytes)
        while count := self.call("nfs_pread", handle, ctypes.c_uint64(len(data)), ctypes.c_uint64(self.read_bytes), buffer):
            data += buffer.raw[:count]
        self.call("nfs_close", handle)
        return bytes(data)

    def names(self, folder):
        directory = ctypes.c_void_p()
        self.call("nfs_opendir", folder.encode(), ctypes.byref(directory))
        found = []
        while entry := self.library.nfs_readdir(self.context, directory):
            found.append(entry.contents.name.decode())
        self.library.nfs_closedir(self.context, directory)
        return [name for name in found if name not in (".", "..")]

    def walk(self, folder):
        """Attributes of everything below, by path."""
        found, left = {}, [folder]
        while left:
            at = left.pop()
            for name in self.names(at):
                path = f"{at}/{name}"
                found[path] = self.stat(path)
                if found[path].mode & 0o170000 == IS_DIRECTORY:
                    left.append(path)
        return found

    def directories(self, folder):
        everything = self.walk(folder).items()
        return {relative(path, folder) for path, stat in everything if stat.mode & 0o170000 == IS_DIRECTORY}

    def tree(self, folder):
        found = {}
        for path, stat in self.walk(folder).items():
            if stat.mode & 0o170000 != IS_DIRECTORY:
                data = self.read(path)
                found[relative(path, folder)] = Seen(digest(data), len(data), stat.mtime, None, stat.size)
        return found


class NfsPrograms(Client):
    """nfs-ls, nfs-cat and nfs-cp."""

    name, door, package = "nfs-utils", "nfs", "Debian: libnfs-utils"
    programs = ("nfs-ls", "nfs-cat", "nfs-cp")
    mangles = {"?": "a URL's query begins there"}

    def url(self, path):
        return nfs_url(self.doors["nfs"], path)

    def put(self, path, source):
        try:
            self.run("nfs-cp", source, self.url(path))
        except AssertionError as error:
            # It creates, and never replaces.
            if "NFS3ERR_EXIST" in str(error):
                raise Cannot from error
            raise

    def list(self, folder):
        """Sizes of files and names of directories in one folder."""
        files, directories = {}, []
        # drwxr-xr-x  2     0     0         4096 name
        for line in self.run("nfs-ls", self.url(folder)).decode().splitlines():
            mode, size, name = re.fullmatch(r"(\S{10}) +\d+ +\d+ +\d+ +(\d+) (.*)", line).groups()
            if mode.startswith("d"):
                directories.append(name)
            else:
                files[name] = int(size)
        return files, directories

    def tree(self, folder):
        found, left = {}, [folder]
        while left:
            at = left.pop()
            files, directories = self.list(at)
            left += [f"{at}/{name}" for name in directories]
            for name, size in files.items():
                path = f"{at}/{name}"
                if self.handles(path):
                    data = self.run("nfs-cat", self.url(path))
                    found[relative(path, folder)] = Seen(digest(data), len(data), told_size=size)
        return found


ALL = [Drive, LibNfs, NfsPrograms]
