"""Runs one program and answers for its end, in a process of its own between the server and the program.

    python supervisor.py END_FILE PROGRAM ARGUMENT...

A container ends with its first process, and whatever that process started ends with it. A plain process does
not: this stands in for the container. It becomes the subreaper of everything that the program starts, however
detached, and when the program has ended it kills what is left. It reads commands from its standard input, a
pipe from the server: `T` sends SIGTERM to the program alone (as `docker stop` does to process 1), `K`, or the
end of the pipe, kills. The kernel closes the pipe when the server dies, be it by SIGKILL, so no job outlives
its server; if this process itself is killed, the program gets SIGKILL as its parent-death signal.

The alternative, a parent-death signal set by the server, would reach neither grandchildren nor survive well:
Linux sends it when the *thread* that started the program ends, and setting it means running Python between
fork and exec of a process with many threads.

The exit code is the program's, 128 + n where signal n ended it; 127 where there is no such program and 126
where it cannot be run, as in a shell and in docker. END_FILE gets the time at which the program ended, in seconds
of time.monotonic(), which all processes share: what is left may take longer to end, and another host of the
job may end meanwhile. It runs with -I -S and imports the standard library only: it must start in milliseconds.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

TERMINATE = b"T"
KILL = b"K"

# From linux/prctl.h.
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36


def command_line(*command: str, end_file: str = os.devnull) -> list[str]:
    """What to start in the command's place, with a pipe as standard input."""
    return [sys.executable, "-I", "-S", __file__, end_file, *command]


def main(end_file: str, *command: str) -> int:
    """Runs the command to its end and returns the exit code described above."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)
    try:
        # No thread runs yet, so Python between fork and exec is safe here.
        program = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, start_new_session=True, preexec_fn=_die_with_parent
        )
    except FileNotFoundError:
        _complain(f'exec: "{command[0]}": executable file not found in $PATH')
        return 127
    except OSError as error:
        _complain(f'exec: "{command[0]}": {os.strerror(error.errno or 0).lower()}')
        return 126
    threading.Thread(target=_obey, args=(program,), daemon=True).start()
    code = program.wait()
    # A program may have removed the directory.
    with contextlib.suppress(OSError):
        Path(end_file).write_text(str(time.monotonic()))
    _kill_the_rest(program.pid)
    return code if code >= 0 else 128 - code


def _obey(program: subprocess.Popen[bytes]) -> None:
    while os.read(0, 1) == TERMINATE:
        program.send_signal(signal.SIGTERM)
    program.kill()


def _kill_the_rest(group: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, signal.SIGKILL)
    # A process that is just forking can be missed, but not twice: its child has this process as ancestor as
    # well.
    while living := _descendants():
        for process in living:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(-1, 0)


def _descendants() -> list[int]:
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            # The name in parentheses may hold anything, spaces and parentheses included.
            before, _, after = stat.read_text(errors="replace").rpartition(")")
            state, parent = after.split()[:2]
            if state != "Z":
                children.setdefault(int(parent), []).append(int(before.split()[0]))
    found: list[int] = []
    ancestors = [os.getpid()]
    while ancestors:
        of_one = children.get(ancestors.pop(), [])
        found += of_one
        ancestors += of_one
    return found


def _die_with_parent() -> None:
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(option, *map(ctypes.c_ulong, (value, 0, 0, 0)))


def _complain(message: str) -> None:
    os.write(1, f"{message}\n".encode())


if __name__ == "__main__":
    # A normal exit would wait for the lock of the thread that reads standard input.
    os._exit(main(*sys.argv[1:]))
