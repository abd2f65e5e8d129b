"""Reading what students hand in: whatever they did to their cells, nobody loses an answer and nobody else is harmed."""

import ast
import json
import random
import re
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from course_lib.grading.files import File
from course_lib.grading.sources import MAX_SOURCE, free_names, parsed, python
from course_lib.grading.submissions import EMPTY, NOT_THERE, NOTHING, UNCHANGED, Submission, answers_in, cells_in, is_open, read
from tests.grading.classroom import NAME, asked, assignment, code, content, handed_in, place, references, write


def read_one(notebook):
    """The submission of ada, who hands in this notebook or these bytes."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "ada.ipynb").write_bytes(notebook if isinstance(notebook, bytes) else content(notebook))
        return list(read(Path(folder), assignment()))


def understood(notebook, *others):
    """(answers, missing, notes) of a notebook, or of several of one student."""
    cells = [cell for number, book in enumerate((notebook, *others)) for cell in cells_in(File(f"{number}.ipynb", content(book)))]
    return answers_in(cells, assignment())


def works(source, name, *args):
    """What the answer gives when it is run as a worker runs it: alone, after its prelude."""
    space = {}
    exec("import torch\n" + source, space)
    return space[name](*args) if args else space[name]


def test_an_untouched_notebook_gives_every_answer_and_no_note():
    answers, missing, notes = understood(handed_in())
    assert answers == references() and missing == {} and notes == []


def test_the_release_itself_is_all_stubs():
    answers, missing, notes = understood(handed_in({}))
    assert set(missing.values()) == {UNCHANGED} and notes == []
    assert {id: text.split() for id, text in answers.items()} == {one.id: one.stub.split() for one in assignment().exercises}


@pytest.mark.parametrize("change, why", [
    (lambda stub: stub, UNCHANGED), (lambda stub: stub.replace("\n", "\n\n") + " \n", UNCHANGED), (lambda stub: " \n", EMPTY),
    (lambda stub: stub + "\nmine = 1", None), (lambda stub: stub.replace("dim=1", "dim=2"), None),
])
def test_what_nobody_worked_on_is_shown_and_not_run(change, why):
    """Also where the stub has a planted bug, which is then nobody's misconception."""
    source = change(asked("3.2").stub)
    (one,) = read_one(handed_in(e32=source))
    assert one.missing.get("3.2") == why and one.holds("3.2") and one.nothing == ""
    assert one.answers["3.2"] == source and ("3.2" in one.to_judge()) == (why is None)
    assert why is None or is_open(why)


@pytest.mark.parametrize("first", [True, False])
def test_of_doubled_cells_the_last_one_that_was_worked_on_counts(first):
    book = handed_in()
    at = place(book, "answer-3-2")
    stub = {**book["cells"][at], "source": asked("3.2").stub}
    book["cells"].insert(at if first else at + 1, stub)
    answers, missing, notes = understood(book)
    assert answers == references() and missing == {}
    assert notes == ["3.2: 2 answer cells; the last one that was worked on counts"]


def test_of_two_attempts_the_later_counts():
    book = handed_in()
    at = place(book, "answer-3-2")
    book["cells"].insert(at + 1, {**book["cells"][at], "source": "def attend_all(q, k, v):\n    return 2"})
    assert understood(book)[0]["3.2"] == "def attend_all(q, k, v):\n    return 2"


def test_a_deleted_cell_says_so_and_leaves_the_others():
    book = handed_in()
    del book["cells"][place(book, "answer-3-1")]
    answers, missing, _notes = understood(book)
    assert missing == {"3.1": NOT_THERE} and answers == {id: text for id, text in references().items() if id != "3.1"}


def test_cells_in_another_order_are_found_and_reported():
    book = handed_in()
    random.Random(0).shuffle(book["cells"])
    answers, missing, notes = understood(book)
    assert answers == references() and missing == {}
    assert notes == ["the answer cells stand in another order than in the assignment"]


def test_without_metadata_answers_are_found_by_name_and_reported():
    book = handed_in()
    for cell in book["cells"]:
        cell["metadata"] = {}
    answers, missing, notes = understood(book)
    assert answers == references() and missing == {}
    assert notes == ["3.1, 3.2, 3.3, 3.4, 3.5, 3.6: the answer cell has lost its mark; found by its name"]


def test_without_metadata_and_renamed_answers_are_found_by_their_check():
    book = handed_in(e32="def mine(q, k, v):\n    return (q @ k.mT).softmax(-1) @ v")
    for cell in book["cells"]:
        cell["metadata"] = {}
        cell["source"] = 'check("3.2", mine)' if 'check("3.2"' in "".join(cell["source"]) else cell["source"]
    answers, _missing, notes = understood(book)
    assert "3.2: the answer cell has lost its mark; found by its check as mine" in notes
    assert works(answers["3.2"], "attend_all").__name__ == "mine"


@pytest.mark.parametrize("source, called", [
    ("def mine(q, k, v):\n    return v", "mine"),
    ("def helper(x):\n    return x\n\ndef mine(q, k, v):\n    return v", "mine"),
])
def test_a_renamed_function_is_judged_under_its_own_name(source, called):
    book = handed_in(e32=source)
    book["cells"][place(book, "check-3-2")]["source"] = f'check("3.2", {called})'
    answers, _missing, notes = understood(book)
    assert "3.2: mine is judged as attend_all" in notes and works(answers["3.2"], "attend_all").__name__ == "mine"
    assert "3.2: the check cell was edited, which changes nothing here" in notes


def test_a_cell_without_the_function_is_reported():
    answers, _missing, notes = understood(handed_in(e32="x = 3"))
    assert answers["3.2"] == "x = 3" and notes == ["3.2: the cell does not define attend_all"]


@pytest.mark.parametrize("source, why", [
    ("def attend_all(q, k, v)\n    return v", ": expected ':'"),
    ("def attend_all(q, k, v):\n    return " + "(" * 300 + "v", "too many nested parentheses"),
    ("-" * 90_000 + "1", "nested too deeply"),
    ("a" + ".b" * 40_000, "nested too deeply"),
    ("x = 1\0", "null bytes"),
    ("x = " + "9" * 5000, "Exceeds the limit"),
    ("\ud800", "surrogates not allowed"),
    ("x" * 200_000, "200,000 characters"),
    ("%%bash\nls /\necho $((1+", "not valid Python"),
])
def test_what_is_no_python_scores_nothing_with_a_reason(source, why):
    answers, missing, _notes = understood(handed_in(e32=source))
    assert why in missing["3.2"] and not is_open(missing["3.2"]) and len(answers) == 6
    assert answers["3.2"] == source[:MAX_SOURCE]                      # for a person to read; it is not run
    assert "3.2" not in Submission("ada", "", answers, (), missing).to_judge()


@pytest.mark.parametrize("source, said", [
    ("def attend_all(q, k, v)\n    return v", "line 1, `def attend_all(q, k, v)`: expected ':'"),
    ("x = 1\n    y =   " + "a + " * 50, "line 2, `y = " + ("a + " * 50)[:76] + "…`: "),
    ("x = '\u202e", "line 1: "),
])
def test_the_line_that_is_no_python_is_quoted(source, said):
    with pytest.raises(ValueError, match=f"^the cell is not valid Python: {re.escape(said)}"):
        parsed(source)


def test_lines_for_ipython_alone_do_no_harm():
    source = "%%time\n!ls\ndef attend_all(q, k, v):\n    %pdb on\n    return v\n%timeit 1"
    answers, _missing, _notes = understood(handed_in(e32=source))
    assert works(answers["3.2"], "attend_all", 1, 2, 3) == 3
    text = 'def attend_all(q, k, v):\n    """Fifty\n% of v."""\n    return (v\n        % 2)'
    assert understood(handed_in(e32=text))[0]["3.2"] == text


def test_helpers_in_cells_of_their_own_come_along_and_trainings_do_not():
    book = handed_in(e32="def attend_all(q, k, v):\n    return weigh(q, k) @ v * SCALE")
    book["cells"].insert(3, code("from math import sqrt\nSCALE = 1.0\nmodel = fit_for_hours()\n"
                                 "def weigh(q, k):\n    return F.softmax(q @ k.mT / root(1), -1)\n\ndef root(x):\n    return sqrt(x)"))
    book["cells"].insert(3, code("import torch.nn.functional as F\nimport os"))
    source = understood(book)[0]["3.2"]
    assert "fit_for_hours" not in source and "import os" not in source
    import torch
    x = torch.randn(2, 3, 4)
    assert torch.equal(works(source, "attend_all", x, x, x), (x @ x.mT).softmax(-1) @ x)


def test_an_answer_may_use_another_answer():
    book = handed_in(e35="def align(pairs):\n    return aer([], [], [])")
    assert works(understood(book)[0]["3.5"], "align", []) == 0.0


def test_a_print_or_check_in_the_answer_cell_breaks_nothing():
    book = handed_in(e32=references()["3.2"] + '\nprint(attend_all(queries, keys, values))\nmodels["x"](1,\n  2)\n'
                                               'check("3.2", attend_all)\nassert True')
    source = understood(book)[0]["3.2"]
    assert callable(works(source, "attend_all"))
    assert len(source.split("\n")) == len(references()["3.2"].split("\n")) + 5  # line numbers stay


def test_a_call_at_the_top_that_can_run_stays():
    source = "TABLE = {}\nTABLE.update(scale=2)\nunknown.update(TABLE)\ndef attend_all(q, k, v):\n    return TABLE['scale']"
    assert works(understood(handed_in(e32=source))[0]["3.2"], "attend_all", 1, 2, 3) == 2


def test_the_instructors_own_cells_are_no_answers():
    """A cell of the course that happens to bind a judged name is known again by its text."""
    from course_lib.grading.assignment import Assignment, digest
    mine, given = code("attend_all = 1"), code("attend_all  =  2")
    plain = assignment()
    known = Assignment(plain.name, plain.chapters, plain.exercises, plain.prelude, (digest("attend_all = 2"),))
    assert answers_in(cells_in(File("a", content({"cells": [mine, given]}))), known)[0]["3.2"] == "attend_all = 1"


def test_several_notebooks_of_one_student():
    first, second = handed_in(e32="def attend_all(q, k, v):\n    return 1"), handed_in({"3.2": references()["3.2"]})
    answers, _missing, notes = understood(first, second)
    assert answers == references()
    assert notes[:2] == ["3.1, 3.3, 3.4, 3.5, 3.6: 2 answer cells; 0.ipynb counts", "3.2: 2 answer cells; 1.ipynb counts"]


def test_sources_as_lists_and_cells_that_are_no_cells():
    book = handed_in()
    for cell in book["cells"]:
        cell["source"] = "".join(cell["source"]).splitlines(keepends=True)
    book["cells"] += [None, 3, {}, {"cell_type": "code"}, {"cell_type": "code", "source": 5}, {"cell_type": "code", "source": [1]},
                      code("x", nbgrader=[]), {"cell_type": "code", "source": "x", "metadata": 4}]
    assert understood(book)[0] == references()


@pytest.mark.parametrize("raw, why", [
    (b"", "no notebook"), (b"[]", "not a Jupyter notebook"), (b"{}", "not a Jupyter notebook"), (b"\xff\xfe", "no notebook"),
    (b'{"cells": {}}', "not a Jupyter notebook"), (b'{"worksheets": []}', "format 3"), (b"[" * 200_000, "no notebook"),
    (b'{"cells": [' + b"9" * 5000 + b"]}", "no notebook"), (b"NaN", "not a Jupyter notebook"),
    (json.dumps({"cells": [code("x")] * 6000}).encode(), "6,000 cells"),
])
def test_files_that_are_no_notebooks_are_refused_with_a_reason(tmp_path, raw, why):
    (tmp_path / "ada").mkdir()
    (tmp_path / "ada" / NAME).write_bytes(raw)
    write(tmp_path / "bob" / NAME, handed_in())
    ada, bob = read(tmp_path, assignment())
    assert why in ada.notes[0] and ada.answers == {} and bob.answers == references() and bob.nothing == ""
    assert ada.nothing == f"{NOTHING}: {ada.notes[0]}" and set(ada.missing.values()) == {ada.nothing}
    assert len(ada.missing) == 6 and is_open(ada.nothing) and not ada.holds("3.1")


def test_a_notebook_of_another_chapter_says_so():
    (ada,) = read_one({"cells": [code("x = 1")]})
    assert set(ada.missing.values()) == {"nothing to grade: no answer cell of this assignment in ada.ipynb"}
    (bob,) = read_one({"cells": []})
    assert bob.nothing == "nothing to grade: no code cell in what was handed in"
    (cy,) = read_one({"cells": [code(references()["3.2"])]})
    assert cy.nothing == "" and cy.missing["3.1"] == NOT_THERE and cy.holds("3.2") and not cy.holds("3.1")


@settings(max_examples=60, deadline=None)
@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(max_size=8),
                    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(
                        st.sampled_from(["cells", "source", "metadata", "nbgrader", "cell_type", "grade_id", "solution"]), inner)))
def test_any_json_is_read_or_refused_in_words(data):
    try:
        cells = cells_in(File("x", json.dumps(data).encode()))
    except ValueError:
        return
    answers_in(cells, assignment())


@pytest.mark.parametrize("source, names", [
    ("def f(x, *a, k=K, **kw):\n    y = x + G\n    return [z for z in y]", {"K", "G"}),
    ("import a.b as c, d.e\nc, d", set()), ("class A(B):\n    x = C\n    def m(self): return D, self.x", {"B", "C", "D"}),
    ("x: T = 1\nlen(x)", {"T"}), ("def f():\n    global g\n    g = 1\n    return h", {"h"}), ("lambda p: p + q", {"q"}),
    ("def f():\n    y = 1\n    def g(): return y\n    return g", set()), ("@deco\ndef f(): ...", {"deco"}),
])
def test_free_names(source, names):
    assert free_names(source) == names


def test_python_and_its_parser_agree():
    assert python("x = '\\d'") == "x = '\\d'" and isinstance(parsed("x = 1"), ast.Module)
