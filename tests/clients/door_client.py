"""What every client of the matrix can be asked, and how programs are run.

Paths are `/bucket/dir/file`. A client that has no such operation raises `Cannot`; that is its protocol's or its program's
limit, not the door's. Everything else that goes wrong is an error.
"""

import dataclasses
import hashlib
import os
import pathlib
import shutil
import subprocess
import tempfile

PROGRAM_SECONDS = 60


class Cannot(Exception):
    """The client has no such operation."""


@dataclasses.dataclass
class Seen:
    """What a client shows of a file; `None` where it does not tell."""

    digest: str
    size: int
    mtime: int | None = None
    etag: str | None = None
    told_size: int | None = None


def digest(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def digest_file(path) -> str:
    return digest(pathlib.Path(path).read_bytes())


class Client:
    """One client at one door."""

    name = ""
    door = ""
    # What its users have to install.
    package = ""
    # Programs that must be there.
    programs: tuple[str, ...] = ()
    # Whether its programs take long to start, so that it is not asked after every step.
    slow = False
    # Parts of names that the client itself mangles or refuses, with the reason; such files are not asked of it.
    mangles: dict[str, str] = {}

    def __init__(self, doors: dict, scratch: pathlib.Path):
        self.doors = doors
        self.scratch = scratch / self.name
        self.scratch.mkdir()

    @classmethod
    def missing(cls, doors: dict) -> str | None:
        """Why it cannot be used here."""
        if cls.door not in doors:
            return f"the server has no {cls.door} door open"
        absent = [program for program in cls.programs if find(program) is None]
        return f"{', '.join(absent)} not installed ({cls.package})" if absent else None

    def handles(self, path: str) -> bool:
        return not any(part in path for part in self.mangles)

    # What changes things. `source` is a local file with the content.
    def put(self, path: str, source: pathlib.Path):
        raise Cannot

    def put_many(self, folder: str, sources: pathlib.Path):
        """Every file of a local folder."""
        for source in sorted(sources.iterdir()):
            self.put(f"{folder}/{source.name}", source)

    def rename(self, old: str, new: str):
        raise Cannot

    def remove(self, path: str):
        raise Cannot

    def remove_many(self, folder: str, names: list[str]):
        """All files of a folder, which are these."""
        for name in names:
            self.remove(f"{folder}/{name}")

    def mkdir(self, path: str):
        raise Cannot

    def rmdir(self, path: str):
        raise Cannot

    def truncate(self, path: str, size: int):
        raise Cannot

    def write_at(self, path: str, offset: int, data: bytes):
        raise Cannot

    def append(self, path: str, data: bytes):
        raise Cannot

    def set_mtime(self, path: str, seconds: int):
        raise Cannot

    # What looks.
    def tree(self, folder: str) -> dict[str, Seen]:
        """Every file below the folder by its path relative to it, with its content read."""
        raise NotImplementedError

    def directories(self, folder: str) -> set[str]:
        """Every directory below the folder by its path relative to it."""
        raise Cannot

    # Helpers for programs.
    def fresh_folder(self) -> pathlib.Path:
        return pathlib.Path(tempfile.mkdtemp(dir=self.scratch))

    def run(self, *arguments, stdin: bytes = b"", env=None) -> bytes:
        command = [find(arguments[0]), *map(str, arguments[1:])]
        environment = {"HOME": str(self.scratch), "PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", **(env or {})}
        done = subprocess.run(
            command, input=stdin, capture_output=True, env=environment, timeout=PROGRAM_SECONDS, check=False
        )
        if done.returncode != 0:
            said = (done.stderr + done.stdout).decode(errors="replace").strip()
            raise AssertionError(f"{self.name}: {' '.join(map(str, arguments))} ended with {done.returncode}: {said[-2000:]}")
        return done.stdout

    def read_folder(self, folder: pathlib.Path) -> dict[str, Seen]:
        """Files a program has fetched, by their relative paths; removes them."""
        found = {}
        for path in folder.rglob("*"):
            if path.is_file():
                data = path.read_bytes()
                found[str(path.relative_to(folder))] = Seen(digest(data), len(data))
        shutil.rmtree(folder)
        return found


def find(program: str) -> str | None:
    """A program of this Python's environment, else of the system."""
    import sys

    beside = pathlib.Path(sys.executable).parent / program
    return str(beside) if beside.exists() else shutil.which(program)


def parent(path: str) -> str:
    return path.rsplit("/", 1)[0]


def relative(path: str, folder: str) -> str:
    prefix = folder.rstrip("/") + "/"
    assert path.startswith(prefix), f"{path} is not below {folder}"
    return path[len(prefix):]
