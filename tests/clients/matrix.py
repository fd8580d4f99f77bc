#!/usr/bin/env python3
"""Every client against every other, on a running server: what one does is seen by all of them, whole, at once.

    matrix.py DATA/doors.json [--all] [--only NAME,NAME...]

Each client in turn acts in a folder of its own: it writes, replaces, extends, cuts, renames and removes files; then they
meet on one file. After each step all clients list that folder and read every byte of it, without any pause (those
that are slow to start after some steps only), and have to agree with a model on names, sizes and content, and with each
other on times and tags. A client that is not installed is left out with a word; with `--all` that is an error. Works in a
bucket of its own and removes it.

Ends with 1 at the first disagreement. The server's own check (`strata fsck`) is the caller's.
"""

import argparse
import concurrent.futures
import dataclasses
import json
import os
import pathlib
import random
import shutil
import sys
import tempfile
import time

import file_clients
import s3_clients
import webdav_clients
from door_client import Cannot, digest

BUCKET = "matrix"
# Random names and content are the same in every run.
SEED = 20
# How far the clocks of a second's resolution may be apart.
SLACK_SECONDS = 2
MIB = 1 << 20
# Sizes of the largest file each client writes: more than a part where it uploads in parts.
LARGE = {"boto3": 20 * MIB, "aws": 9 * MIB, "s3cmd": 6 * MIB, "rclone-s3": 6 * MIB, "curl": 5 * MIB, "drive": 4 * MIB}
LARGE_OTHERWISE = 2 * MIB + 3
ODD_NAMES = ["with space", "ünï 文字 🗄", "100%", "%41", "a+b", "q?u=e&ry", "num#ber", "semi;colon,comma", "-dash", "quo'te", "[br]*", "~til"]


@dataclasses.dataclass
class Known:
    """What is at a path."""

    data: bytes
    # When it was last touched, by this machine's clock.
    touched: float
    # As all clients told them when they looked last; they hold until somebody touches the file.
    mtime: int | None = None
    etag: str | None = None

    def __post_init__(self):
        self.digest = digest(self.data)


class Disagreement(AssertionError):
    """A client saw something else."""


class Matrix:
    """The clients, what they should see, and the figures."""

    def __init__(self, clients, scratch):
        self.clients = clients
        self.scratch = scratch
        self.random = random.Random(SEED)
        self.pool = concurrent.futures.ThreadPoolExecutor(len(clients))
        self.looks = self.steps = 0
        self.seconds_of = dict.fromkeys((client.name for client in clients), 0.0)
        self.folder, self.files, self.directories = "", {}, set()

    def enter(self, folder):
        """Goes to an empty folder."""
        self.folder, self.files, self.directories = f"/{BUCKET}/{folder}", {}, set()

    def path(self, name):
        return f"{self.folder}/{name}"

    def touch(self, name, data):
        self.files[name] = Known(data, time.time())

    # What a client does, and what it means. `Cannot` passes.
    def put(self, client, name, size, mtime=None):
        data, source = self.random.randbytes(size), self.scratch / "source"
        source.write_bytes(data)
        if mtime is not None:
            os.utime(source, (mtime, mtime))
        before = time.time()
        client.put(self.path(name), source)
        self.files[name] = Known(data, before)

    def put_many(self, client, folder, names):
        sources, before = pathlib.Path(tempfile.mkdtemp(dir=self.scratch)), time.time()
        for number, name in enumerate(names):
            if client.handles(self.path(name)):
                data = self.random.randbytes(10 + number)
                (sources / name).write_bytes(data)
                self.files[f"{folder}/{name}"] = Known(data, before)
        client.put_many(self.path(folder), sources)
        shutil.rmtree(sources)

    def remove_many(self, client, folder):
        names = [name for name in self.files if name.startswith(folder + "/")]
        client.remove_many(self.path(folder), [name.rsplit("/", 1)[1] for name in names])
        for name in names:
            del self.files[name]

    def append(self, client, name, size):
        data, before = self.random.randbytes(size), self.files[name].data
        client.append(self.path(name), data)
        self.touch(name, before + data)

    def truncate(self, client, name, size):
        before = self.files[name].data
        client.truncate(self.path(name), size)
        self.touch(name, before[:size].ljust(size, b"\0"))

    def write_at(self, client, name, offset, size):
        data, before = self.random.randbytes(size), self.files[name].data
        client.write_at(self.path(name), offset, data)
        self.touch(name, before[:offset].ljust(offset, b"\0") + data + before[offset + size:])

    def rename(self, client, old, new):
        if old in self.files and client.handles(self.path(new)):
            client.rename(self.path(old), self.path(new))
            known = self.files.pop(old)
            # To S3 it is a new object of the same content.
            self.files[new] = Known(known.data, time.time()) if client.door == "s3" else known

    def remove(self, client, name):
        client.remove(self.path(name))
        del self.files[name]

    def mkdir(self, client, name):
        client.mkdir(self.path(name))
        self.directories.add(name)

    def rmdir(self, client, name):
        client.rmdir(self.path(name))
        self.directories.discard(name)

    # What all of them see.
    def step(self, what, slow=False):
        """Everybody looks, at once and at the same time; clients that start up slowly only where `slow` says so."""
        self.steps += 1
        looks = list(self.pool.map(self.look, [client for client in self.clients if slow or not client.slow]))
        now = time.time()
        for client, files, directories, error in looks:
            if error:
                raise Disagreement(f"{what}: {client.name} fails: {error}") from error
            self.compare(what, client, files, directories)
        for name, known in self.files.items():
            shown = {client.name: files[name] for client, files, _, _ in looks if name in files}
            for field in ("mtime", "etag"):
                told = {client: getattr(seen, field) for client, seen in shown.items() if getattr(seen, field) is not None}
                self.agree(f"{what}: {field} of {name!r}", known, field, told, now)

    def look(self, client):
        began = time.monotonic()
        try:
            files = client.tree(self.folder)
            try:
                return client, files, client.directories(self.folder), None
            except Cannot:
                return client, files, None, None
        except Exception as error:  # noqa: BLE001 - told by the caller, with what was being done
            return client, {}, None, error
        finally:
            self.seconds_of[client.name] += time.monotonic() - began

    def compare(self, what, client, files, directories):
        expected = {name for name in self.files if client.handles(self.path(name))}
        shown = {name for name in files if client.handles(self.path(name))}
        if shown != expected:
            raise Disagreement(f"{what}: {client.name} lacks {sorted(expected - shown)}, shows {sorted(shown - expected)}")
        for name in expected:
            self.looks += 1
            known, seen = self.files[name], files[name]
            if seen.told_size not in (None, len(known.data)):
                raise Disagreement(f"{what}: {client.name} tells {seen.told_size} bytes of {name!r}, not {len(known.data)}")
            if seen.digest != known.digest:
                raise Disagreement(f"{what}: {client.name} reads {seen.size} other bytes of {name!r} ({len(known.data)})")
        if directories is not None and directories != self.directories:
            raise Disagreement(f"{what}: {client.name} sees directories {sorted(directories)}, not {sorted(self.directories)}")

    def agree(self, what, known, field, told, now):
        """One value for all; of a file that nobody touched, the one it had."""
        if not told:
            return
        if len(set(told.values())) > 1:
            raise Disagreement(f"{what} differs: {told}")
        value, before = next(iter(told.values())), getattr(known, field)
        if before is None and field == "mtime" and not known.touched - SLACK_SECONDS <= value <= now + SLACK_SECONDS:
            raise Disagreement(f"{what} is {value}, but it was changed at {known.touched}")
        if before not in (None, value):
            raise Disagreement(f"{what} is {value}, was {before}, and nobody touched it")
        setattr(known, field, value)


def attempt(call, *arguments):
    """Whether the client has the operation."""
    try:
        call(*arguments)
    except Cannot:
        return False
    return True


def acts(matrix, client, helper):
    """One client does what it can; all look after every step. What it cannot, `helper` does to its files."""
    name = client.name

    def do(action, *arguments):
        if not attempt(action, client, *arguments):
            action(helper, *arguments)

    matrix.enter(f"of {name}")
    if not attempt(client.mkdir, matrix.folder):
        helper.mkdir(matrix.folder)

    sizes = [("empty", 0), ("one", 1), ("small", 5000), ("chunks", 300_001), ("large", LARGE.get(name, LARGE_OTHERWISE))]
    for file, size in sizes:
        matrix.put(client, file, size)
    folders = ["sub dir", "odd"]
    for folder in folders:
        if client.door != "s3":
            do(matrix.mkdir, folder)
    matrix.put_many(client, "odd", ODD_NAMES)
    if client.door == "s3":
        # Keys make directories.
        matrix.directories.add("odd")
    matrix.step(f"{name} has written", slow=True)

    for file, size in [("empty", 900), ("small", 0), ("chunks", 310_000), ("large", 1000)]:
        do(matrix.put, file, size)
    matrix.step(f"{name} has replaced")

    changed = [
        attempt(matrix.write_at, client, "chunks", 123_456, 5000),
        attempt(matrix.append, client, "empty", 70_000),
        attempt(matrix.write_at, client, "one", 1, 100),
        attempt(matrix.truncate, client, "large", 10),
    ]
    if any(changed):
        matrix.step(f"{name} has changed parts")
    if attempt(matrix.truncate, client, "large", 100_000) and attempt(matrix.append, client, "large", 1):
        matrix.step(f"{name} has extended")

    made = attempt(matrix.mkdir, client, "made")
    for old, new in [("one", "sub dir/\u00f6ne +1%"), ("chunks", "sub dir/chunks"), ("odd/with space", "odd/without")]:
        do(matrix.rename, old, new)
    if client.door == "s3":
        matrix.directories.add("sub dir")
    matrix.step(f"{name} has renamed", slow=True)

    if made:
        matrix.rmdir(client, "made")
    do(matrix.remove_many, "odd")
    for file in sorted(matrix.files):
        do(matrix.remove, file)
    for folder in folders:
        if client.door == "s3":
            # They vanish with their last key.
            matrix.directories.discard(folder)
        else:
            do(matrix.rmdir, folder)
    matrix.step(f"{name} has removed")


def meet(matrix):
    """All clients replace the same file, one after the other: whoever keeps something must notice."""
    matrix.enter("meeting")
    turns = matrix.clients + random.Random(SEED).sample(matrix.clients, len(matrix.clients))
    matrix.clients[0].mkdir(matrix.folder)
    for number, client in enumerate(turns):
        if attempt(matrix.put, client, "baton", 40_000 + 777 * (number % 3)):
            matrix.step(f"{client.name} has taken the baton (turn {number})", slow=number % 3 == 0)


def times(matrix, helper):
    """Times that one client sets are told by all."""
    matrix.enter("times")
    helper.mkdir(matrix.folder)
    when = 1_000_000_000
    for client in matrix.clients:
        matrix.put(helper, client.name, 100)
        when += 1
        if attempt(client.set_mtime, matrix.path(client.name), when):
            matrix.files[client.name].mtime = when
        if client.name == "rclone-webdav":
            matrix.put(client, client.name, 100, mtime=when)
            matrix.files[client.name].mtime = when
    matrix.step("everybody has set times", slow=True)


def metadata(matrix):
    """User metadata given by S3 clients stays with the file, whichever door moves it."""
    s3 = {client.name: client for client in matrix.clients if hasattr(client, "put_metadata")}
    movers = [client for client in matrix.clients if client.door != "s3"]
    matrix.enter("metadata")
    given = {"colour": "blue", "note": "two words"}
    for writer in s3.values():
        source = matrix.scratch / "source"
        source.write_bytes(b"with metadata")
        writer.put_metadata(matrix.path(writer.name), source, given)
    for number, mover in enumerate([None, *movers]):
        for writer in s3:
            old, new = matrix.path(writer + "." * number), matrix.path(writer + "." * (number + 1))
            if mover is None or not attempt(mover.rename, old, new):
                matrix.clients[0].rename(old, new)
            for reader in s3.values():
                shown = reader.get_metadata(new)
                kept = {key: shown.get(key) for key in given}
                if kept != given:
                    raise Disagreement(f"{reader.name} shows metadata {shown} of {new}, written by {writer}, moved by {mover and mover.name}")
                matrix.looks += 1
    matrix.steps += 1


def present(doors, only, every):
    """The classes of the clients that can be used here."""
    usable = []
    for kind in s3_clients.ALL + webdav_clients.ALL + file_clients.ALL:
        if only and kind.name not in only:
            continue
        reason = kind.missing(doors)
        if reason and every:
            sys.exit(f"{kind.name} is needed: {reason}")
        if reason:
            print(f"skipped: {kind.name}: {reason}")
        else:
            usable.append(kind)
    return usable


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("doors", type=pathlib.Path, help="the server's doors.json")
    arguments.add_argument("--all", action="store_true", help="no client may be missing")
    arguments.add_argument("--only", default="", help="names of clients, separated by commas; boto3 is always there")
    given = arguments.parse_args()
    doors = json.loads(given.doors.read_text())
    only = {"boto3", *given.only.split(",")} if given.only else set()
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="matrix-") as scratch:
        scratch = pathlib.Path(scratch)
        clients = [kind(doors, scratch) for kind in present(doors, only, given.all)]
        matrix, helper = Matrix(clients, scratch), clients[0]
        helper.s3.create_bucket(Bucket=BUCKET)
        try:
            for client in clients:
                acts(matrix, client, helper)
            meet(matrix)
            times(matrix, helper)
            metadata(matrix)
        except Disagreement as wrong:
            print(f"DISAGREEMENT after {matrix.steps} steps and {time.monotonic() - began:.0f} s: {wrong}")
            return 1
        helper.empty(BUCKET)
    spent = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in matrix.seconds_of.items())
    print(f"{len(clients)} clients agreed on {matrix.looks} looks in {matrix.steps} steps, {time.monotonic() - began:.0f} s ({spent})")
    return 0


if __name__ == "__main__":
    sys.exit(main())
