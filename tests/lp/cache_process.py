"""Writers of one cache in processes of their own: killed, side by side, or left alone.

`python cache_process.py FOLDER N_PROGRAMS WRITERS...`, where a writer is `whole`, or a number: the
seconds after its first new file at which it is killed. Numbers come one after the other, on what
the one before left; `whole` ones run at once. Writers are forks, made before there is any thread,
so that nothing is imported twice. Prints for each its exit code and the chunks that it left, as
JSON: names and hashes.
"""

import hashlib
import json
import os
import signal
import sys
import time
from pathlib import Path

from lit_implicit_lp import cache, chunk_file, labels
from lit_implicit_lp.cache import LabelCache
from lit_implicit_lp.labels import LabelSettings

# Small chunks: most of the time is spent writing.
for module in (cache, chunk_file, labels):
    module.CHUNK = 16

SETTINGS = LabelSettings(seed=0, stream=0, sizes=((2, 6, 6), (3, 5, 8)), modes=("b", "l"))


def start(folder: str, n: int) -> int:
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            LabelCache(folder, SETTINGS).ensure(n)
            code = 0
        finally:
            os._exit(code)
    return pid


def chunks(folder: str) -> dict[str, str]:
    paths = sorted(Path(folder).rglob("chunk_*.npz"))
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


def is_running(pid: int) -> bool:
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None


def report(folder: str, pid: int) -> None:
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    sys.stdout.write(json.dumps([code, chunks(folder)]) + "\n")


def main(folder: str, n: str, *writers: str) -> None:
    at_once = [start(folder, int(n)) for writer in writers if writer == "whole"]
    for pid in at_once:
        report(folder, pid)
    for delay in writers[len(at_once) :]:
        n_before = len(chunks(folder))
        pid = start(folder, int(n))
        while len(list(Path(folder).rglob("chunk_*.npz"))) <= n_before and is_running(pid):
            time.sleep(0.001)
        time.sleep(float(delay))
        os.kill(pid, signal.SIGKILL)
        report(folder, pid)


if __name__ == "__main__":
    main(*sys.argv[1:])
