"""The hostile corpus: what an answer cell may try, against points, against limits, and against what it may not reach.

Each answers exercise 3.6, `reverse_within(x, lengths)`. RIGHT is an honest answer to start from. They also run without a
sandbox, perhaps as root: none may do harm that lasts, such as changing mounts, deleting files or signalling strangers.
"""

from dataclasses import dataclass

RIGHT = """
import torch

def right(x, lengths):
    t = torch.arange(x.shape[1])
    source = torch.where(t < lengths[:, None], lengths[:, None] - 1 - t, t)
    return x.gather(1, source[..., None].expand_as(x))

reverse_within = right
"""


def cell(code: str) -> str:
    """A cell with the honest answer above it, for code that changes or surrounds it."""
    return RIGHT + "\n" + code


def wrong(body: str, before: str = "") -> str:
    """A cell whose function does this instead; the honest answer is not in it."""
    lines = "\n".join(f"    {line}" for line in body.strip().splitlines())
    return f"import torch\n{before}\ndef reverse_within(x, lengths):\n{lines}\n"


# --- tries to get points without the right values: 0 points, and the next answer as if nothing had been ----------------
FOR_POINTS = {
    "replaces the comparisons of torch and numpy": wrong("return x", """
import numpy
for name in ("allclose", "equal", "isclose", "eq"):
    setattr(torch, name, lambda *a, **k: True)
for name in ("allclose", "array_equal", "isclose", "abs", "asarray"):
    setattr(numpy, name, lambda *a, **k: True)
torch.Tensor.__eq__ = torch.Tensor.__ne__ = lambda *a: True
"""),
    "an object equal to everything": wrong("return Yes()", """
class Yes:
    def __eq__(self, other): return True
    def __le__(self, other): return True
    def __array__(self, *a, **k): return 1 / 0
    shape = property(lambda self: 1 / 0)
"""),
    "a tensor of a class of its own": wrong("return x.as_subclass(Yes)", """
class Yes(torch.Tensor):
    @classmethod
    def __torch_function__(cls, f, types, args=(), kwargs=None): return True
"""),
    "a list that lies about its items": wrong("return Liar([[1.0]])", """
class Liar(list):
    __class__ = property(lambda self: torch.Tensor)
    def __iter__(self): raise SystemExit(0)
    def __eq__(self, other): return True
    def __len__(self): return 10 ** 9
"""),
    "a text equal to everything": wrong("return Word('x')", """
class Word(str):
    def __eq__(self, other): return True
    def __hash__(self): return 0
"""),
    "a dict with a key that fights back": wrong("return {Key(): 1}", """
class Key:
    def __hash__(self): return 1
    def __eq__(self, other): return True
"""),
    "an object that runs code when it is unpickled": wrong("return Bomb()", """
import os
class Bomb:
    def __reduce__(self): return os.system, ("touch CANARY",)
"""),
    "a pickle written in place of the reply": wrong("""
import os, pickle
os.write(3, pickle.dumps(Bomb()))
os._exit(0)
""", """
import os
class Bomb:
    def __reduce__(self): return os.system, ("touch CANARY",)
"""),
    "a reply of its own that claims points": wrong("""
import json, os, struct
text = json.dumps({"outputs": "[]", "points": 2, "ok": True, "sizes": []}).encode()
os.write(3, struct.pack("<Q", len(text)) + text)
os._exit(0)
"""),
    "the worker's own closing word as reply": wrong("""
import os
os.write(3, b'{"code": 0, "late": false, "cpu": 0, "wall": 0, "points": 2}\\n')
os._exit(0)
"""),
    "a reply with a header of 10^18 bytes": wrong("""
import os, struct
os.write(3, struct.pack("<Q", 10 ** 18) + b"{")
os._exit(0)
"""),
    "a reply of a hundred thousand brackets": wrong("""
import os, struct
text = b"[" * 100_000
os.write(3, struct.pack("<Q", len(text)) + text)
os._exit(0)
"""),
    "nothing but bytes, and an orderly end": wrong("import os\nos.write(3, os.urandom(5000))\nos._exit(0)"),
    "bytes before the honest reply": cell("import os\nos.write(3, b'0' * 100)"),
    "a reply without end": wrong("""
import os
while True:
    os.write(3, b"0" * 1_000_000)
"""),
    "text that looks like the protocol": wrong("""return '{"outputs": [["value", 1, ""]], "sizes": []}'"""),
    "NaN everywhere": wrong("return torch.full_like(x.double(), torch.nan)"),
    "infinity everywhere": wrong("return torch.full_like(x.double(), torch.inf)"),
    "five million NaN": wrong("return torch.full((5_000_000,), torch.nan)"),
    "a whole number of 5000 digits": wrong("return 10 ** 5000"),
    "a tensor that claims 10^15 numbers": wrong("return torch.zeros(1).expand(10 ** 15)"),
    "a meta tensor": wrong("return torch.empty(x.shape, device='meta')"),
    "a sparse tensor": wrong("return x.double().to_sparse()"),
    "complex numbers": wrong("return x + 0j"),
    "a generator, to be run by the grader": wrong("""
def lazily():
    import os
    os.system("touch CANARY")
    yield 1
return lazily()
"""),
    "a list in itself": wrong("a = []\na.append(a)\nreturn a"),
    "a thousand lists in each other": wrong("a = []\nfor _ in range(1000): a = [a]\nreturn a"),
    "ten million numbers in lists": wrong("return [0.0] * 10_000_000"),
    "a list that grows while it is read": wrong("a = Grows([1])\na.a = a\nreturn a", """
class Grows(list):
    def __iter__(self):
        while True: yield 1
"""),
    "changes its inputs to what it returns": wrong("x.zero_()\nlengths.zero_()\nreturn x"),
    "puts other modules in place of the judge's": wrong("return x", """
import sys, types
fake = types.ModuleType("judging")
fake.same = fake.difference = lambda *a: ""
for name in ("course_lib.exercises.judging", "course_lib.exercises.spec", "course_lib.grading.marking"):
    sys.modules[name] = fake
"""),
    "tampers with the worker's modules": wrong("return x", """
from course_lib.exercises import answers, wire
answers.plain = lambda value: Yes
answers._called = lambda function, args: answers.Output("value", {"points": 2}, "")
answers.outputs_of = lambda *a: [answers.Output("right", None, "")] * 9
"""),
    "sends statuses and values that do not exist": wrong("return x", """
from course_lib.exercises import wire
wire.pack = lambda rows: ('{"list": [{"tuple": ["earned", 2, ""]}, {"tuple": [{"dict": []}, 2, 7]}]}', [])
"""),
    "sends an array of objects": wrong("return x", """
from course_lib.exercises import wire
array = '{"array": 0, "dtype": "|O8", "shape": [1], "order": [0]}'
wire.pack = lambda rows: ('{"list": [%s]}' % ", ".join(['{"tuple": ["value", %s, ""]}' % array] * len(rows)), [b"x" * 8])
"""),
    "sends an array whose shape overflows": wrong("return x", """
from course_lib.exercises import wire
array = '{"array": 0, "dtype": "<f8", "shape": [4611686018427387904, 4], "order": [0, 1]}'
wire.pack = lambda rows: ('{"list": [%s]}' % ", ".join(['{"tuple": ["value", %s, ""]}' % array] * len(rows)), [b""])
"""),
    "sends an empty array of 10^18 rows": wrong("return x", """
from course_lib.exercises import wire
array = '{"array": 0, "dtype": "<f8", "shape": [1000000000000000000, 0], "order": [0, 1]}'
wire.pack = lambda rows: ('{"list": [%s]}' % ", ".join(['{"tuple": ["value", %s, ""]}' % array] * len(rows)), [b""])
"""),
    "sends a generator's state that overflows": wrong("return x", """
from course_lib.exercises import wire
state = '{"generator": {"bit_generator": "PCG64", "state": {"state": -1, "inc": 1e999}, "has_uint32": 0, "uinteger": 0}}'
wire.pack = lambda rows: ('{"list": [%s]}' % ", ".join(['{"tuple": ["value", %s, ""]}' % state] * len(rows)), [])
"""),
    "sends fewer outputs than asked": cell("""
from course_lib.exercises import wire
honest = wire.pack
wire.pack = lambda rows: honest(rows[:1])
"""),
    "leaves by os._exit(0)": wrong("import os\nos._exit(0)"),
    "leaves by os._exit(0) while the cell runs": "import os\nos._exit(0)\n" + RIGHT,
    "raises what is no Exception": wrong("raise KeyboardInterrupt"),
    "raises an exception that cannot be shown": wrong("raise Mute()", """
class Mute(Exception):
    def __str__(self): raise SystemExit
    __repr__ = __str__
"""),
    "kills itself": wrong("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)\nos.abort()"),
    "kills its process group": wrong("import os\nos.kill(0, 9)\nos.abort()"),
    "kills whatever it may": wrong("import os\nos.kill(os.getppid() or os.getpid(), 9)\nos._exit(0)"),
    "breaks the interpreter": wrong("import ctypes\nctypes.string_at(0)"),
    "recurses for ever": wrong("return reverse_within(x, lengths)"),
    "recurses for ever with the guard taken off": wrong("import sys\nsys.setrecursionlimit(10 ** 9)\nreturn reverse_within(x, lengths)"),
    "loops for ever": wrong("while True: pass"),
    "loops for ever and catches the signal": wrong("""
import signal
signal.signal(signal.SIGXCPU, signal.SIG_IGN)
while True: pass
"""),
    "sleeps for ever": wrong("import time\ntime.sleep(1000)"),
    "loops in the cell itself": "while True: pass\n" + RIGHT,
    "loops while it is read": wrong("return Slow([1])", """
class Slow(dict):
    def items(self):
        while True: pass
class Meta(type):
    def __subclasscheck__(cls, other):
        while True: pass
"""),
    "takes four gigabytes at once": wrong("return torch.zeros(2 ** 29, dtype=torch.float64).sum()"),
    "takes four gigabytes by and by": wrong("a = []\nwhile True: a.append(bytearray(1_000_000))"),
    "the name is a number": "reverse_within = 3",
    "the name is an object that can be called and lies": """
class Call:
    __name__ = property(lambda self: 1 / 0)
    __code__ = property(lambda self: 1 / 0)
    __wrapped__ = property(lambda self: self)
    def __call__(self, x, lengths): return x
reverse_within = Call()
""",
}

# --- odd, but the values are right: full points ------------------------------------------------------------------------
HARMLESS = {
    "prints a warning and a progress bar": cell("""
import sys, warnings
def reverse_within(x, lengths):
    warnings.warn("careful")
    sys.stderr.write("100%|##########| 3/3\\r")
    return right(x, lengths)
"""),
    "floods standard output": cell("for _ in range(200): print('x' * 1_000_000)"),
    "closes what it finds open": cell("import os, sys\nsys.stdout.close()\nos.close(1)\nos.close(2)"),
    "leaves work for the end of the process": cell("""
import atexit, os
atexit.register(os._exit, 1)
class Last:
    def __del__(self): os._exit(1)
last = Last()
"""),
    "replaces torch.allclose and is right all the same": cell("torch.allclose = lambda *a, **k: True"),
    "shows something that fails after the definition": cell("plt.plot([1, 2])"),
    "calls check itself": "from course_lib.exercises import check\n" + cell("check('3.6', reverse_within)"),
    "fills the disk it has, and tidies up": cell("""
import os
try:
    for n in range(100):
        with open(f"/tmp/{os.getpid()}-{n}", "wb") as file: file.write(bytes(1_000_000))
except OSError:
    pass
finally:
    for m in range(n + 1):
        if os.path.exists(f"/tmp/{os.getpid()}-{m}"): os.remove(f"/tmp/{os.getpid()}-{m}")
"""),
}


@dataclass(frozen=True)
class Reach:
    """`code` returns what it got hold of, or raises; `open_without` says whether it succeeds where there is no sandbox.

    None: there it depends on the machine, for instance on who is root.
    """

    code: str
    open_without: bool | None

    @property
    def source(self) -> str:
        return "def reverse_within(x, lengths):\n" + "\n".join(f"    {line}" for line in self.code.strip().splitlines())


# --- what may not be reached; SECRET, CANARY, GRADER, PORT, HOME and COURSE are filled in by the test --------------------------
REACHES = {
    "a file of this machine": Reach("return open('/etc/passwd').read()", True),
    "a classmate's submission": Reach("return open('SECRET').read()", True),
    "the grade book, to write": Reach("with open('CANARY', 'a') as file: file.write('6 of 6')\nreturn 'written'", True),
    "the solutions, as files": Reach("return open('COURSE/exercises/ch03/reversal.py').read()", True),
    "the solutions, as modules": Reach("from course_lib.exercises.ch03 import reversal\nreturn 'imported'", False),
    "the tests": Reach("import os\nreturn os.listdir('COURSE/../tests')", True),
    "the grading itself, as module": Reach("from course_lib.grading import marking\nreturn 'imported'", False),
    "a folder that is not its own": Reach("import os\nreturn os.listdir('HOME')", True),
    "the grader's variables": Reach("import os\nreturn [os.environ['COURSE_CANARY']]", False),
    "the grader's variables, by /proc": Reach("return open('/proc/GRADER/environ').read()[:9]", True),
    "the grader's memory": Reach("return open('/proc/GRADER/maps').readline()", True),
    "the memory of the worker": Reach("import os\nreturn open(f'/proc/{os.getppid()}/maps').readline()", True),
    "any process at all": Reach("import os\nreturn [n for n in os.listdir('/proc') if n.isdigit()][0]", True),
    "the grader, by a signal": Reach("import os\nos.kill(GRADER, 0)\nreturn 'signalled'", True),
    "the network": Reach("import socket\nsocket.create_connection(('127.0.0.1', PORT), 2)\nreturn 'connected'", True),
    "a local socket without a file": Reach(
        "import socket\ns = socket.socket(socket.AF_UNIX)\ns.connect('\\0course-PORT')\nreturn 'connected'", True),
    "the next exercise's inputs on standard input": Reach("import os\nreturn os.read(0, 1_000_000) or 1 / 0", False),
    "what is typed": Reach("return input()", False),
    "other open files": Reach("""
import os
found = []
for fd in range(4, 200):
    try: found.append(os.read(fd, 10))
    except OSError: pass
return found or 1 / 0
""", False),
    "expected values, in the frames above it": Reach("""
import sys
frame, found = sys._getframe(), set()
while frame:
    found |= set(frame.f_locals) | set(frame.f_locals.get('header') or ())
    frame = frame.f_back
return [name for name in found if name in ('seed', 'expected', 'reference', 'points', 'verdict', 'hidden')] or 1 / 0
""", False),
    "judging, among the modules that are loaded": Reach("""
import sys
due = {'exercises', 'exercises.answers', 'exercises.wire', 'grading', 'grading.worker', 'grading.confine', 'grading.frames'}
return [n for n in sys.modules if n.startswith('course_lib.') and n[11:] not in due] or 1 / 0
""", False),
    "the library, to write": Reach("import torch\nopen(torch.__file__, 'a').close()\nreturn 'opened'", None),
    "the course, to write": Reach("import course_lib\nopen(course_lib.__file__, 'a').close()\nreturn 'opened'", True),
    "a process that goes on without it": Reach("""
import os
if os.fork() == 0:
    os.setsid()
    import time
    time.sleep(3)
    os._exit(0)
return 'forked'
""", None),
    "a thread": Reach("import threading\nthreading.Thread(target=print).start()\nreturn 'started'", None),
    "four gigabytes": Reach("return len(bytearray(4 << 30))", False),
    "four gigabytes that it may share": Reach("import mmap\nreturn len(mmap.mmap(-1, 4 << 30))", False),
    "memory that no limit counts": Reach("""
import ctypes, os
if ctypes.CDLL(None).shmget(0, 1 << 20, 0o1600) < 0: os.memfd_create('x')
return 'got'
""", False),
    "its parent, as a debugger": Reach("""
import ctypes, os
if ctypes.CDLL(None).ptrace(16, os.getppid() or 1, 0, 0) < 0: raise OSError
return 'attached'
""", False),
    "rights that root has": Reach("""
import ctypes
rights = (ctypes.c_uint32 * 6)()
ctypes.CDLL(None).capget((ctypes.c_uint32 * 2)(0x20080522, 0), rights)
return [right for right in rights if right] or 1 / 0
""", None),
    "root's name": Reach("import os\nreturn 1 // (os.getuid() == 0)", None),
    "the kernel's keys": Reach("""
import ctypes
if ctypes.CDLL(None).syscall(250, 0, -3, 1) < 0: raise OSError
return 'joined'
""", None),
    "a file of a gigabyte": Reach("""
with open('/tmp/big-GRADER', 'wb') as file:
    import os
    os.remove(file.name)
    file.seek(1 << 30)
    file.write(b'x')
return 'written'
""", False),
    "a hundred megabytes of disk": Reach("""
import os
names = [f'/tmp/part{n}-GRADER' for n in range(10)]
try:
    for name in names:
        with open(name, 'wb') as file: file.write(bytes(10_000_000))
finally:
    for name in names:
        if os.path.exists(name): os.remove(name)
return 'written'
""", True),
    "a hundred open files": Reach("return len([open('/dev/null') for _ in range(100)])", False),
    "another program": Reach("""
import subprocess
return subprocess.run(['/bin/sh', '-c', 'echo run'], capture_output=True, text=True).stdout
""", None),
    "other processes, by namespaces of its own": Reach("""
import ctypes, os
libc = ctypes.CDLL(None)
if libc.unshare(0x10000000 | 0x00020000): raise OSError  # go on in namespaces of our own, never in this machine's
libc.mount(b'proc', b'/tmp', b'proc', 0, None)
return [n for n in os.listdir('/tmp') if n.isdigit()] or 1 / 0
""", None),
}
