"""What a person is told to look at: true alarms in the hostile corpus and around it, no alarm for what is usual."""

import ast

import pytest

from course_lib.grading import rules
from tests.grading.hostile import FOR_POINTS, HARMLESS, REACHES
from tests.grading.test_marking import SOLUTIONS

CORPUS = {**FOR_POINTS, **HARMLESS, **{name: reach.source for name, reach in REACHES.items()}}
USUAL = (  # neither imports nor calls anything that reaches around: these compute, wrongly or for too long
    "an object equal", "a tensor of a class", "a list", "a text", "a dict", "text that looks", "NaN", "infinity", "five million",
    "a whole number", "a tensor that claims", "a meta", "a sparse", "complex", "a thousand", "ten million", "changes its inputs",
    "raises", "recurses for ever", "loops for ever", "sleeps", "loops", "takes four", "the name is a number", "floods",
    "shows something", "four gigabytes",
)


def found(source):
    return rules.review("3.6", ast.parse(source))


@pytest.mark.parametrize("name", CORPUS)
def test_what_reaches_around_is_listed(name):
    lines = [set(ast.unparse(node).split()) for node in ast.walk(ast.parse(CORPUS[name])) if isinstance(node, (ast.Import, ast.ImportFrom))]
    imports = any(not line & {"torch", "warnings", "time", "numpy"} for line in lines)
    assert found(CORPUS[name]) or (name.startswith(USUAL) and not imports), name


@pytest.mark.parametrize(("source", "said"), [
    ("import torch\ntorch.allclose = lambda *a: True", ("changes torch.allclose",)),
    ("torch.allclose = 1", ("changes torch.allclose",)),                         # the import is the course's
    ("import torch.nn as nn\ndef f(x):\n    nn.Linear.forward = x", ("changes nn.Linear.forward",)),
    ("from torch import Tensor\ndel Tensor.__eq__", ("changes Tensor.__eq__",)),
    ("import torch\nfor torch.pi in [3]: pass", ("changes torch.pi",)),
    ("import torch\nsetattr(torch, 'equal', 1)", ("changes torch",)),
    ("import torch\ntorch.__dict__['equal'] = 1", ("changes torch.__dict__",)),
    ("import torch\ndef f(eval): return eval('1')\nf(eval)", ("uses eval",)),
    ("open = open\nopen('x')", ("uses open",)),
    ("if 0: input = 1\ninput()", ("uses input",)),
    ("class A:\n    eval = eval\nA.eval('1')", ("uses eval",)),
    ("def f(open=open): return open('x')", ("uses open",)),
    ("run = [exec]", ("uses exec",)),
    ("eval('1')\ndef f(): nonlocal z", ("uses eval",)),                          # the compiler refuses what the parser lets pass
    ("import random\nrandom._os.system('x')", ("uses _os",)),
    ("import torch\ntorch.serialization.builtins.open('x')", ("uses builtins",)),
    ("[vars for vars in [1]]\nvars()", ("uses vars",)),
])
def test_true_alarms(source, said):
    assert found(source) == said


@pytest.mark.parametrize("source", [
    "model.eval()\nmodel.train()",
    "import regex\nwords = regex.compile(r'\\w+')",
    "import re\nwords = re.compile('x').findall",
    "def forward(self, input): return self.linear(input)",
    "import torch\nstep = torch.compile(lambda input: input + 1)",
    "input = 3\ndouble = 2 * input",
    "def compile(x): return x\ny = compile(3)",
    "def f(vars):\n    def g(): return vars\n    return g",
    "[open for open in range(3)]",
    "class Net:\n    def __init__(self, input):\n        self.input = input\n        self.data.grad = None",
    "def f(x):\n    x.requires_grad = True\n    x.weight.data[0] = 1\n    return x",
    "import torch\ntorch.backends.cudnn.deterministic = True",
    "import matplotlib.pyplot as plt\nplt.rcParams['figure.dpi'] = 90",
    "def f(x): return x\nf.calls = 0",
    "def f(): return 1\nfor net in [f]: net.training = False",
    "class Net: pass\nNet.size = 3\nsetattr(Net, 'width', 2)",
    "import torch\ndef f(p):\n    setattr(p, 'grad', None)",
])
def test_no_alarm_for_what_is_usual(source):
    assert found(source) == ()


@pytest.mark.parametrize("id", SOLUTIONS)
def test_no_alarm_for_the_notebooks_own_answers(id):
    assert rules.review(id, ast.parse(SOLUTIONS[id][0])) == ()


def test_a_source_that_nests_deeply_is_looked_at_all_the_same():
    tree = ast.parse("x = " + "-" * 900 + "1\neval('1')")
    deep = ast.parse("y = 1").body[0]
    for _ in range(2000):
        deep = ast.If(ast.Constant(1), [deep], [])
    assert found_in(tree) == found_in(ast.Module([*tree.body, deep], [])) == ("uses eval",)


def found_in(tree):
    return rules.review("3.6", tree)
