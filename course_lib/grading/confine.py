"""What a process gives up before it runs foreign code: namespaces of its own (Linux), rights, memory, time, files.

It runs inside the worker and imports nothing of the course. The sandbox around the worker (bubblewrap) protects the
machine; what is given up here, once more for every answer, protects the worker and the other students.
"""

import contextlib
import ctypes
import os
import resource
import struct
import sys

NOBODY = 65534
SCRATCH = ("/tmp", "/dev/shm")  # where an answer may write
TMPFS_BYTES = 64 << 20  # each of them
FILE_BYTES = 16 << 20
OPEN_FILES = 64

_NEW = 0x00020000 | 0x08000000 | 0x10000000 | 0x20000000 | 0x40000000  # mounts, IPC, users, processes, network
_NOSUID_NODEV_NOEXEC, _READ_ONLY, _PRIVATE, _BIND = 2 | 4 | 8, 1, 0x4000 | 0x40000, 0x1000 | 0x4000
_SET_DUMPABLE, _NO_NEW_PRIVILEGES, _CAPABILITIES_3 = 4, 38, 0x20080522
_libc = ctypes.CDLL(None, use_errno=True)

# System calls that no answer needs, by machine (seccomp's architecture, then their numbers in the kernel's tables): memory that
# no limit counts (shmget, memfd_create), other processes (ptrace, process_vm_readv, process_vm_writev), new namespaces (unshare,
# setns, mount), keys (add_key, request_key, keyctl), and doors that were often broken (bpf, userfaultfd, perf_event_open, io_uring_setup).
_CALLS = {
    "x86_64": (0xC000003E, (29, 319, 101, 310, 311, 272, 308, 165, 248, 249, 250, 321, 323, 298, 425)),
    "aarch64": (0xC00000B7, (194, 279, 117, 270, 271, 97, 268, 40, 217, 218, 219, 280, 282, 241, 425)),
}
_SET_SECCOMP, _FILTER, _LOAD, _EQUAL, _AT_LEAST, _RETURN = 22, 2, 0x20, 0x15, 0x35, 0x06
_ALLOW, _KILL, _REFUSE, _X32 = 0x7FFF0000, 0x80000000, 0x00050001, 0x40000000


def _checked(result: int, what: str) -> None:
    if result:
        raise OSError(ctypes.get_errno(), f"{what}: {os.strerror(ctypes.get_errno())}")


def drop_root() -> None:
    """Become an unprivileged user for good, if we are root."""
    if os.geteuid() == 0:
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)
        _checked(_libc.prctl(_SET_DUMPABLE, 1, 0, 0, 0), "prctl")  # or /proc/self would stay root's


def own_namespaces() -> None:
    """From here on this process sees nobody else's mounts, network and IPC; its next child is process 1 of a world of its own.

    When that child ends, the kernel ends everything it has started. Raises OSError where the system forbids it.
    """
    user, group = os.getuid(), os.getgid()
    _checked(_libc.unshare(_NEW), "unshare")
    for name, line in (("setgroups", "deny"), ("uid_map", f"{user} {user} 1"), ("gid_map", f"{group} {group} 1")):
        with open(f"/proc/self/{name}", "w") as file:
            file.write(line)
    _checked(_libc.mount(b"none", b"/", None, _PRIVATE, None), "mount /")
    options = f"size={TMPFS_BYTES},nr_inodes=4096,mode=1777".encode()
    python = [place for place in dict.fromkeys((sys.base_prefix, sys.prefix)) if place.startswith(tuple(f"{one}/" for one in SCRATCH))]
    held = [os.open(place, os.O_PATH) for place in python]
    for place in SCRATCH:
        _checked(_libc.mount(b"tmpfs", place.encode(), b"tmpfs", _NOSUID_NODEV_NOEXEC, options), place)
    for place, file in zip(python, held, strict=True):  # what was covered is shown again, as read-only as it was
        os.makedirs(place, exist_ok=True)
        _checked(_libc.mount(f"/proc/self/fd/{file}".encode(), place.encode(), None, _BIND, None), place)
        os.close(file)
    _checked(_libc.mount(b"tmpfs", b"/proc", b"tmpfs", _NOSUID_NODEV_NOEXEC | _READ_ONLY, b"size=4k"), "/proc")
    os.chdir("/tmp")


def give_up_rights() -> None:
    """Give up every capability inside our own namespaces."""
    _checked(_libc.capset((ctypes.c_uint32 * 2)(_CAPABILITIES_3, 0), (ctypes.c_uint32 * 6)()), "capset")


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_uint16), ("steps", ctypes.c_char_p))


def refuse_calls() -> None:
    """From here on, under Linux, the system calls of `_CALLS` fail with EPERM, for this process and all it starts."""
    if sys.platform != "linux" or os.uname().machine not in _CALLS:
        return
    machine, numbers = _CALLS[os.uname().machine]
    # each step: operation, steps to skip if it is true, if it is false, operand; first the machine, then the call's number
    steps = [(_LOAD, 0, 0, 4), (_EQUAL, 1, 0, machine), (_RETURN, 0, 0, _KILL), (_LOAD, 0, 0, 0),
             (_AT_LEAST, len(numbers) + 1, 0, _X32),
             *((_EQUAL, len(numbers) - n, 0, number) for n, number in enumerate(numbers)),
             (_RETURN, 0, 0, _ALLOW), (_RETURN, 0, 0, _REFUSE)]
    program = _Program(len(steps), b"".join(struct.pack("HBBI", *step) for step in steps))
    _checked(_libc.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0), "prctl")
    _checked(_libc.prctl(_SET_SECCOMP, _FILTER, ctypes.byref(program), 0, 0), "seccomp")


def limit(memory: int, cpu_seconds: int) -> None:
    """Hard limits on this process: `memory` bytes beyond what it has mapped now, CPU seconds, files, and no further process.

    A thread counts as a process. Root is exempt from that one limit, everywhere.
    """
    limits = {"RLIMIT_CPU": (cpu_seconds, cpu_seconds + 1), "RLIMIT_FSIZE": FILE_BYTES, "RLIMIT_NOFILE": OPEN_FILES,
              "RLIMIT_CORE": 0, "RLIMIT_MSGQUEUE": 0, "RLIMIT_MEMLOCK": 0, "RLIMIT_NPROC": 1, "RLIMIT_AS": _mapped() + memory}
    if sys.platform == "darwin":
        del limits["RLIMIT_AS"]  # macOS refuses one below what is mapped, and maps without counting
    for name, most in limits.items():
        with contextlib.suppress(AttributeError):  # a limit that this system does not know
            resource.setrlimit(getattr(resource, name), most if isinstance(most, tuple) else (most, most))


def _mapped() -> int:
    """Bytes of address space in use; 0 where the system does not tell."""
    with contextlib.suppress(OSError), open("/proc/self/statm") as file:
        return int(file.read().split()[0]) * resource.getpagesize()
    return 0
