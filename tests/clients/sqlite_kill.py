#!/usr/bin/env python3
"""SQLite on the drive while the server is killed, again and again: no acknowledged row may be missing afterwards.

    sqlite_kill.py STRATA [--rounds 30] [--modes WAL+FULL,DELETE+EXTRA,DELETE+FULL] [--seed N]

Each round starts the server on the same store, mounts it, and lets a program insert rows, one commit each, that tells a
row's number once its commit has returned. SIGKILL hits the server at a random moment. The next start must find a whole
database with every row told, in order, and at most one more (a commit under way).

A rollback journal is removed to commit. DELETE+FULL does not sync the directory after that, so the last commit may be
undone (see docs/semantics/mount.md), one and not more. DELETE+EXTRA does, but SQLite takes a directory that cannot be opened
for one that needs no sync (unixDelete in os_unix.c): a kill between the removal and the opening has it tell a row that
nobody made durable. So after each row the program opens the directory itself. If that succeeds, the server was alive
when SQLite opened it, and the row is proven: with EXTRA no proven row may be missing. Prints the seed and a line per mode;
ends with 1 if a row is missing that may not be.
"""

import argparse
import json
import os
import pathlib
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time

START_SECONDS = 120
# How long the inserting goes on before the kill.
RUN_SECONDS = (0.05, 1.5)
# Last commits that a mode may lose by its own rules, and those of them that were proven.
MAY_LOSE = {"WAL+FULL": (0, 0), "DELETE+EXTRA": (1, 0), "DELETE+FULL": (1, 1)}


def connect(path, mode):
    journal, synchronous = mode.split("+")
    base = sqlite3.connect(path, isolation_level=None, timeout=60)
    base.execute(f"pragma journal_mode={journal}")
    base.execute(f"pragma synchronous={synchronous}")
    return base


def insert(path, mode):
    """The program that dies with the drive under it."""
    base = connect(path, mode)
    base.execute("create table if not exists t (n integer primary key, filler blob)")
    number = base.execute("select coalesce(max(n), 0) from t").fetchone()[0]
    while True:
        number += 1
        base.execute("insert into t values (?, randomblob(?))", (number, 40 + number * 97 % 3000))
        os.write(1, b"%d told\n" % number)
        os.close(os.open(os.path.dirname(path), os.O_RDONLY | os.O_DIRECTORY))
        os.write(1, b"%d proven\n" % number)


def serve(strata, folder):
    """Starts the server; returns it once its doors are open."""
    data, log = folder / "data", open(folder / "log", "ab")
    arguments = ["serve", "--data", data, "--disks", "6", "--ports", "auto", "--segment-size", "16MiB", "--mount", folder / "drive"]
    server = subprocess.Popen([strata, *arguments], stdout=log, stderr=log)
    for _ in range(START_SECONDS * 50):
        own = (data / "lock").read_text().strip() == str(server.pid) if (data / "lock").exists() else False
        if own and (data / "doors.json").exists():
            json.loads((data / "doors.json").read_text())
            return server
        assert server.poll() is None, f"the server ended: {(folder / 'log').read_text()[-2000:]}"
        time.sleep(0.02)
    raise AssertionError("the server opened no doors")


def round_of(strata, folder, mode, chance, told):
    """One life of the server. Returns the last row told before its end, and the last one proven."""
    server = serve(strata, folder)
    base = folder / "drive" / "bases" / f"{mode}.db"
    base.parent.mkdir(exist_ok=True)
    program = subprocess.Popen(
        [sys.executable, __file__, "insert", base, mode], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, bufsize=0
    )
    first = program.stdout.readline()
    time.sleep(chance.uniform(*RUN_SECONDS))
    server.send_signal(signal.SIGKILL)
    server.wait()
    rest, _ = program.communicate(timeout=60)
    last = {"told": told, "proven": told}
    for line in (first + rest).decode().splitlines():
        number, kind = line.split()
        last[kind] = int(number)
    return last["told"], last["proven"]


def check(strata, folder, mode, told):
    """How many rows there are, in a database that is whole."""
    server = serve(strata, folder)
    base = connect(folder / "drive" / "bases" / f"{mode}.db", mode)
    sound = base.execute("pragma integrity_check").fetchone()[0]
    rows = [number for (number,) in base.execute("select n from t order by n")]
    base.close()
    server.send_signal(signal.SIGTERM)
    assert server.wait() == 0
    assert sound == "ok", f"{mode}: {sound}"
    assert rows == list(range(1, len(rows) + 1)), f"{mode}: rows are missing in the middle: {rows}"
    assert len(rows) <= told + 1, f"{mode}: {len(rows)} rows, {told} told"
    return len(rows)


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("strata", type=pathlib.Path)
    arguments.add_argument("--rounds", type=int, default=30)
    arguments.add_argument("--modes", default="WAL+FULL,DELETE+EXTRA,DELETE+FULL")
    arguments.add_argument("--seed", type=int, default=time.time_ns() % 1_000_000)
    given = arguments.parse_args()
    print(f"seed {given.seed}")
    failed = False
    for mode in given.modes.split(","):
        chance, undone, rows = random.Random(f"{given.seed} {mode}"), [], 0
        with tempfile.TemporaryDirectory(prefix="sqlite-kill-") as folder:
            folder = pathlib.Path(folder)
            for number in range(given.rounds):
                told, proven = round_of(given.strata, folder, mode, chance, rows)
                # What the check finds is what the next life builds on.
                rows = check(given.strata, folder, mode, told)
                lost = max(told - rows, 0), max(proven - rows, 0)
                if any(lost):
                    undone.append((number, *lost))
            subprocess.run(["fusermount3", "-u", "-z", "-q", folder / "drive"], check=False)
        excess = [entry for entry in undone if entry[1] > MAY_LOSE[mode][0] or entry[2] > MAY_LOSE[mode][1]]
        failed |= bool(excess)
        verdict = f"; NOT ALLOWED: {excess}" if excess else ""
        print(f"{mode}: {given.rounds} kills, {rows} rows; (round, told, proven) undone: {undone}{verdict}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    if sys.argv[1:2] == ["insert"]:
        # Unbuffered at both ends: what was told has left the program, and nothing is held back by a reader.
        try:
            insert(*sys.argv[2:])
        except (sqlite3.Error, OSError):
            sys.exit(0)
    sys.exit(main())
