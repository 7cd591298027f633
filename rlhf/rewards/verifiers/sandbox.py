"""Runs a program of a policy with limits; `code.py` starts it as a process of its own.

    python -I sandbox.py < JSON

The JSON has `program`, `tests`, `token`, `seconds` and `memory_mb`. The token is written to the
standard output after program and tests ran without an exception: a program that ends early, or
prints, has not passed. The kernel sets the limits: processor time, memory, sizes of files, a
network namespace without interfaces, and a process namespace in which no other process exists.

It is a fence against accidents, not against an attacker: the program can read the files of the
user, and change those that the user can change. This file imports only the standard library.
"""

import ctypes
import json
import os
import resource
import signal
import sys

CLONE_NEWUSER, CLONE_NEWNET, CLONE_NEWPID = 0x10000000, 0x40000000, 0x20000000
PR_SET_PDEATHSIG = 1
MEBIBYTE = 2**20
LARGEST_FILE = MEBIBYTE
# Exit statuses. Python itself ends with 1 or 2 where this file fails.
NO_NAMESPACE = 3  # the kernel does not allow to leave the network
FAILED = 4


def main() -> int:
    """Read, limit, run."""
    request = json.loads(sys.stdin.read())
    if not leave_network():
        return NO_NAMESPACE
    child = os.fork()  # the first process of the new process namespace
    if child == 0:
        os.setsid()  # a signal to the program's own group does not reach this process
        # It ends with this process, whichever session it moves to; its own children end with it.
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        os._exit(run(request))
    _, status = os.waitpid(child, 0)
    # The program may end with any status, also with one that means something else here.
    return 0 if os.waitstatus_to_exitcode(status) == 0 else FAILED


def leave_network() -> bool:
    """Move this process into namespaces without a network; whether the kernel allows that."""
    libc = ctypes.CDLL(None, use_errno=True)
    return bool(libc.unshare(CLONE_NEWUSER | CLONE_NEWNET | CLONE_NEWPID) == 0)


def run(request: "dict[str, object]") -> int:
    """The exit status; the token is on the standard output if program and tests passed."""
    result = os.dup(1)
    nothing = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nothing, stream)
    seconds, memory = int(str(request["seconds"])), int(str(request["memory_mb"])) * MEBIBYTE
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 1))
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_FSIZE, (LARGEST_FILE, LARGEST_FILE))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        names: dict[str, object] = {"__name__": "__main__"}
        exec(compile(str(request["program"]), "response", "exec"), names)
        exec(compile(str(request["tests"]), "tests", "exec"), names)
    except BaseException:  # SystemExit too: it ends the program before its tests
        return FAILED
    os.write(result, str(request["token"]).encode())
    return 0


if __name__ == "__main__":
    sys.exit(main())
