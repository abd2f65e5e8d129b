"""Copies are found whatever is renamed, by groups and from the course, too; who found the same short answer is left in peace."""

import ast
import random
import time
from dataclasses import replace

import pytest

from course_lib.grading import pages
from course_lib.grading.assignment import Assignment
from course_lib.grading.prints import fingerprints, text, windows
from course_lib.grading.similarity import Pair, similar
from course_lib.grading.submissions import Submission
from tests.grading.classroom import assignment, references
from tests.grading.test_marking import ASSIGNMENT, SOLUTIONS

SOLUTION = references()["3.5"]
COPIED = SOLUTION.replace("range(5)", "range(6)").replace("return links", "return [set(found) for found in links]")


class Renamer(ast.NodeTransformer):
    """Every name of the answer's own becomes another."""

    def __init__(self, names):
        self.names = names

    def visit_Name(self, node):
        return ast.Name(self.names.get(node.id, node.id), node.ctx)

    def visit_arg(self, node):
        return ast.arg(self.names.get(node.arg, node.arg), None)


def renamed(source, prefix="v"):
    tree = ast.parse(source)
    own = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)} | \
          {n.arg for n in ast.walk(tree) if isinstance(n, ast.arg)}
    return ast.unparse(Renamer({name: f"{prefix}{n}" for n, name in enumerate(sorted(own))}).visit(tree))


def noisy(source):
    """With comments, blank lines, another docstring and a statement that does nothing in the middle."""
    lines = source.split("\n")
    at = next(n for n, line in enumerate(lines) if "for _" in line)
    return "\n".join([*lines[:at], "    # mine", "", "    unused = 7", *lines[at:]]).replace("Links", "My own links")


def own_work(number):
    """An answer of its own: random expressions, nobody else's."""
    rng = random.Random(number)

    def term(depth):
        if depth == 0:
            return rng.choice(["x", "y", "len(pairs)", "n", str(rng.randrange(9)), "t[i]", "w.count(e)"])
        return f"({term(depth - 1)} {rng.choice(['+', '-', '*', '//', '%', '<', '>', 'and', 'or'])} {term(depth - 1)})"

    body = []
    for _ in range(12):
        body += rng.choice([[f"x = {term(2)}"], [f"for i in range({term(1)}):", f"    y = {term(2)}"],
                            [f"if {term(1)}:", f"    n += {term(1)}"],
                            [f"t = [{term(1)} for e in w if {term(1)}]"], [f"while {term(1)}:", f"    w = {term(2)}"]])
    return "def align(pairs):\n    " + "\n    ".join(body) + "\n    return t"


def class_of(answers):
    return [Submission(name, "x", {"3.5": source}) for name, source in answers.items()]


@pytest.mark.parametrize("copy", [COPIED, renamed(COPIED), noisy(COPIED), renamed(noisy(COPIED)),
                                  COPIED.replace("Counter()", "Counter( )")])
def test_a_copy_is_found_in_a_class_of_twenty(copy):
    answers = {f"s{n}": own_work(n) for n in range(18)} | {"first": COPIED, "second": copy}
    (pair,) = similar(class_of(answers), assignment())
    assert (pair.first, pair.second, pair.exercises) == ("first", "second", ("3.5",)) and pair.share > 0.75


def test_independent_work_is_left_in_peace():
    assert similar(class_of({f"s{n}": own_work(n) for n in range(60)}), assignment()) == []


def test_what_most_have_or_the_stub_gives_is_no_evidence():
    """Half of the class found the standard answer, each in words of their own; the others handed in the stub."""
    stub = next(one.stub for one in assignment().exercises if one.id == "3.5")
    assert similar(class_of({f"s{n}": renamed(COPIED, f"v{n}_") if n % 2 else stub for n in range(20)}), assignment()) == []


def test_a_long_stub_is_no_evidence():
    plain = assignment()
    asked = tuple(replace(one, stub=COPIED) if one.id == "3.5" else one for one in plain.exercises)
    people = class_of({f"s{n}": own_work(n) for n in range(20)} | {"a": COPIED, "b": COPIED})
    assert [(pair.first, pair.second) for pair in similar(people, plain)] == [("a", "b")]
    assert similar(people, replace(plain, exercises=asked)) == []


def test_two_lines_alike_are_chance_and_two_exercises_are_not():
    short = "def reverse_within(x, lengths):\n    return torch.stack([torch.cat([r[:n].flip(0), r[n:]]) for r, n in zip(x, lengths)])"
    people = [Submission(name, "x", {"3.6": short}) for name in "ab"] + class_of({f"s{n}": own_work(n) for n in range(20)})
    assert similar(people, assignment()) == []
    people[:2] = [Submission(name, "x", {"3.6": short, "3.5": own_work(99)}) for name in "ab"]
    assert [pair.exercises for pair in similar(people, assignment())] == [("3.6", "3.5")]


# ---------------------------------------------------------------- groups


def independent(count):
    return {f"s{n:02}": own_work(n) for n in range(count)}


@pytest.mark.parametrize(("size", "others"), [(4, 0), (4, 6), (4, 40), (7, 20), (20, 0)])
def test_one_text_in_many_hands_is_one_group(size, others):
    names = [f"a{n:02}" for n in range(size)]
    copies = {name: COPIED.replace("    words = {}", f"    # {name}'s own work\n\n    words = {{ }}") for name in names}
    (group,) = similar(class_of(copies | independent(others)), assignment())
    assert group == Pair(names[0], names[1], 1.0, ("3.5",), tuple(names[2:]))
    assert list(group.students) == names and group.said == "the same text"


def test_a_copy_beside_a_group_is_still_found():
    """Five have one text, two more share another one."""
    people = {name: COPIED for name in "abcde"} | {name: own_work(99) for name in "xy"} | independent(12)
    assert [found.students for found in similar(class_of(people), assignment())] == [tuple("abcde"), ("x", "y")]


def test_four_with_one_short_text_are_no_group_and_with_two_they_are():
    short = "def reverse_within(x, lengths):\n    return torch.stack([torch.cat([r[:n].flip(0), r[n:]]) for r, n in zip(x, lengths)])"
    people = [Submission(name, "x", {"3.6": short}) for name in "abcd"]
    assert similar(people, assignment()) == []
    people = [Submission(name, "x", {"3.6": short, "3.5": own_work(99)}) for name in "abcd"]
    assert [(one.students, one.exercises) for one in similar(people, assignment())] == [(tuple("abcd"), ("3.6", "3.5"))]


def test_one_text_counts_with_its_names():
    assert text(COPIED) == text(noisy(COPIED).replace("    unused = 7\n", "")) != text(renamed(COPIED))
    assert text("prediction_33 = {'weights': 1}") == "" == text("def (")


# ---------------------------------------------------------------- the course's own solution


@pytest.mark.parametrize("copy", [SOLUTION, renamed(SOLUTION), SOLUTION.replace("Links (", "Mine ("), SOLUTION + "\nprint(align([]))",
                                  "def helper(x):\n    return x\n\n" + SOLUTION])
@pytest.mark.parametrize("others", [0, 15])
def test_the_courses_solution_is_named_also_alone(copy, others):
    (found,) = similar(class_of({"ada": copy} | independent(others)), assignment())
    assert (found.students, found.exercises) == (("ada",), ("3.5",)) and "course's own solution" in found.said


def test_several_with_the_courses_solution_are_named_each_and_not_as_a_pair_or_group():
    found = similar(class_of({name: SOLUTION for name in "abcde"} | independent(10)), assignment())
    assert [one.students for one in found] == [(name,) for name in "abcde"]


def test_the_short_solutions_count_together():
    own = references()
    assert similar([Submission("a", "x", {"3.2": own["3.2"]})], assignment()) == []
    (found,) = similar([Submission("a", "x", {id: own[id] for id in ("3.2", "3.6", "3.4")})], assignment())
    assert found.exercises == ("3.2", "3.6", "3.4")


@pytest.mark.parametrize("other", [COPIED, SOLUTION.replace("for _ in range(5)", "for _ in range(9)"), own_work(3), "", "def ("])
def test_another_answer_is_not_the_courses_solution(other):
    assert similar(class_of({"ada": other}), assignment()) == []


@pytest.mark.parametrize("id", SOLUTIONS)
def test_what_is_handed_out_is_not_the_solution_and_the_solution_is(id):
    asked = next(one for one in ASSIGNMENT.exercises if one.id == id)
    due = set(asked.solution.split())
    assert due <= fingerprints(SOLUTIONS[id][0]) and not (due and due <= fingerprints(SOLUTIONS[id][1]))


def test_an_assignment_tells_no_solution():
    """What students may see is one digest for each definition."""
    told = ASSIGNMENT.as_json()
    assert Assignment.from_json(told) == ASSIGNMENT
    assert all(len(one) == 16 and int(one, 16) >= 0 for asked in ASSIGNMENT.exercises for one in asked.solution.split())
    assert sum(bool(asked.solution) for asked in ASSIGNMENT.exercises) > 40
    assert all(line.strip() not in told for line in SOLUTION.split("\n")[5:] if len(line.strip()) > 30)


def test_the_page_of_the_class_names_groups_and_copies_of_the_solution():
    people = class_of({name: COPIED for name in "abcd"} | {"sol": SOLUTION, "x": own_work(99), "y": own_work(99)} | independent(12))
    page = " ".join(pages.class_page(people, [], similar(people, assignment()), assignment(), "today").split())
    for said in ("the course's own solution", "the same text in 3.5", "100 % alike in 3.5"):
        assert said.replace("'", "&#39;") in page, said


# ---------------------------------------------------------------- what is compared


def test_predictions_and_broken_sources_are_not_compared():
    assert windows(references()["3.3"], "prediction_33") == [] == windows("def (", "x") == windows("", "x")
    people = [Submission(name, "x", {"3.3": references()["3.3"]}) for name in "ab"]
    assert similar(people, assignment()) == []


def test_another_attribute_or_number_is_another_window():
    source = "def f(x):\n    return x.softmax(dim=-1).sum(dim=2).mean(dim=1)"
    assert set(windows(source, "f")) == set(windows(source.replace("x", "z").replace("softmaz", "softmax"), "f"))
    assert set(windows(source, "f")) != set(windows(source.replace("softmax", "sigmoid"), "f"))
    assert set(windows(source, "f")) != set(windows(source.replace("dim=2", "dim=3"), "f"))


def test_three_hundred_submissions_take_seconds():
    people = [Submission(f"s{n}", "x", {"3.5": own_work(n), "3.1": own_work(1000 + n), "3.2": own_work(2000 + n)}) for n in range(300)]
    people[7] = Submission("s7", "x", dict(people[200].answers))
    start = time.process_time()
    (pair,) = similar(people, assignment())
    assert {pair.first, pair.second} == {"s7", "s200"} and len(pair.exercises) == 3
    assert time.process_time() - start < 20
