"""Feedback pages and the class page: escaped, complete, without scripts, and what belongs to the lecturer stays there."""

import re
from html import unescape
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from course_lib.grading import pages
from course_lib.grading.similarity import Pair
from course_lib.grading.store import Row
from course_lib.grading.submissions import NOTHING, Submission
from course_lib.grading.tables import page_name
from tests.grading.classroom import assignment, references

EVIL = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>{{ 7 * 7 }}</pre></details>"
ALLOWED = {"html", "head", "meta", "title", "style", "body", "header", "h1", "h2", "p", "ul", "li", "strong", "span", "section", "b",
           "details", "summary", "pre", "footer", "svg", "rect", "text", "line", "div", "table", "thead", "tbody", "tr", "th", "td",
           "a", "small", "code"}


class Reader(HTMLParser):
    """Tags with their attributes, and the text outside of style."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.texts, self.open = [], [], []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in ("meta", "rect", "line"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, f"</{tag}> closes nothing"

    def handle_data(self, data):
        if self.open[-1:] != ["style"]:
            self.texts.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.texts).split())


def read(page):
    """A page that is well-formed, and neither fetches nor runs anything."""
    reader = Reader(page)
    assert reader.open == [] and {tag for tag, _ in reader.tags} <= ALLOWED
    for tag, attributes in reader.tags:
        assert not any(name.startswith("on") or name in ("src", "srcset", "style") for name in attributes), (tag, attributes)
        assert tag != "a" or re.fullmatch(r"feedback/[\w-]+\.html", attributes["href"])
    assert "url(" not in page and "@import" not in page and "http://" not in page and "https://" not in page
    return reader.text


def row(student, id, points, **more):
    maximum = next(one.points for one in assignment().exercises if one.id == id)
    return Row(student, id, points, maximum, more.pop("attempted", True), more.pop("message", ""), more.pop("misconception", ""),
               more.pop("reason", ""), more.pop("review", ()), 0.1, **more)


def test_everything_a_student_wrote_is_escaped():
    one = Submission(EVIL, EVIL, {id: EVIL for id in references()}, (EVIL,), name=EVIL)
    rows = [row(EVIL, id, 0, message=EVIL, reason=EVIL + "r", misconception=EVIL, review=(EVIL,), comment=EVIL,
                properties=((EVIL, 0, 1),)) for id in references()]
    mine = read(pages.student_page(one, rows, assignment(), "today"))
    assert mine.count("alert(1)") > 30 and "49" not in mine
    page = pages.class_page([one], rows, [Pair(EVIL, EVIL, 1.0, ("3.1",))], assignment(), "today")
    assert read(page).count("<script>") > 10


def test_no_script_runs_even_if_escaping_failed():
    page = pages.student_page(Submission("ada", "x", {}), [], assignment(), "today")
    assert """content="default-src 'none'; style-src 'unsafe-inline'\"""" in page


def test_a_students_page_says_what_and_why():
    rows = [row("ada", "3.3", 5, properties=(("first", 5, 5),)),
            row("ada", "3.1", 2, message="No mask.\nSee row 1.", misconception="no mask", properties=(("p", 2, 2), ("q", 0, 3))),
            row("ada", "3.2", 0, reason="stopped after 15 seconds", review=("uses open",)),
            row("ada", "3.6", 0, attempted=False), row("ada", "3.4", 1, manual=2.5, comment="nice idea")]
    text = read(pages.student_page(Submission("ada", "x.ipynb", {"3.1": "def f(): ..."}, ("cells moved",)), rows, assignment(), "d"))
    for part in ("9.5 of 21", "✓ first", "✓ p", "✗ q", "no mask", "No mask. See row 1.", "Stopped after 15 seconds",
                 "Not attempted.", "2.5 points by hand. nice idea", "def f(): ...", "cells moved", "Additive attention 2 of 5"):
        assert part in text, part
    assert "uses open" not in text        # suspicion is for the lecturer


def test_the_class_page_counts():
    people = [Submission(name, "x", {"3.1": "x"}, ("odd",) if name == "b" else ()) for name in "abcd"]
    rows = []
    for name, points, wrong in (("a", 5, ""), ("b", 0, "no mask"), ("c", 2, "no mask"), ("d", 0, "other")):
        rows += [row(name, id, points if id == "3.1" else 0, misconception=wrong if id == "3.1" else "",
                     message=f"told {name}", attempted=id == "3.1") for id in references() if (name, id) != ("d", "3.5")]
    rows[0] = row("a", "3.3", 0, review=("uses open",))
    text = read(pages.class_page(people, rows, [Pair("a", "b", 0.91, ("3.1", "3.5"))], assignment(), "today"))
    for part in ("4 handed in", "1.8 points on average", "1 points in the middle", "3 students to look at", "Not graded to the end d",
                 "3.1 · Additive attention 35 %", "no mask (2)", "2 3.1 no mask Told b", "1 3.1 other Told d", "a · 3.3: uses open",
                 "91 % alike in 3.1, 3.5", "odd", "3.3 /5 3.1 /5 3.2 /3 3.6 /2 3.4 /3 3.5 /3"):
        assert part in text, part


def test_one_line_for_a_student_and_exercise_and_none_for_what_was_decided():
    rows = [row("a", "3.1", 5, review=("imports os", "uses open")), row("a", "3.2", 3, review=("uses eval",)),
            row("b", "3.1", 5, review=("imports sys",), decided=True), row("b", "3.2", 3)]
    page = pages.class_page([Submission(name, "x", {"3.1": "x"}) for name in "ab"], rows, [], assignment(), "today")
    text = read(page)
    assert page.count("· 3.1: imports os; uses open</li>") == page.count("· 3.2: uses eval</li>") == 1
    assert "imports sys" not in text and "2 students to look at" in text     # b has not been graded to the end


def test_a_page_without_points_begins_with_a_word_of_what_to_do():
    rows = [row("ada", "3.3", 0, attempted=False), row("ada", "3.1", 0), row("ada", "3.2", 0)]
    one = Submission("ada", "x.ipynb", {"3.1": "x"}, name="Ada")
    text = read(pages.student_page(one, rows, assignment(), "d"))
    assert text.index("No points this time") < text.index("3.3 ·") and "Begin with exercise 3.1:" in text
    nothing = read(pages.student_page(one, [row("ada", "3.1", 0, reason=f"{NOTHING}: x.pdf")], assignment(), "d"))
    assert "Nothing in what you handed in could be graded" in nothing and "No points this time" not in nothing
    for some in ([row("ada", "3.1", 1)], [row("ada", "3.1", 0, manual=0.5)], []):
        assert "this time" not in read(pages.student_page(one, some, assignment(), "d"))


def test_sentences_begin_with_a_capital_and_names_stay():
    said = {"your function changes": "Your function changes", "a b": "A b", "doubled: A softmax": "doubled: A softmax",
            "predicted, sure: got": "predicted, sure: got",
            "`x` is": "`x` is", "NameError in line": "NameError in line", "x": "x", "": "", "W_a is": "W_a is"}
    assert {text: pages.sentence(text) for text in said} == said


@pytest.mark.parametrize("text, html", [
    ("no ticks", "no ticks"), ("`x`", "<code>x</code>"), ("see `a < b` and `c`", "see <code>a &lt; b</code> and <code>c</code>"),
    ("one ` alone", "one ` alone"), ("`a` and ` alone", "<code>a</code> and ` alone"), ("``", "``"), ("``x``", "``x``"), ("", ""),
    ("`", "`"), ("`<script>`", "<code>&lt;script&gt;</code>"), ("`</code><img src=x>`", "<code>&lt;/code&gt;&lt;img src=x&gt;</code>"),
    ("<b>`x", "&lt;b&gt;`x"),
])
def test_backticks_become_code_and_everything_is_escaped(text, html):
    prose = pages._environment().get_template("prose.html").module.prose
    assert str(prose(text)) == html


@given(st.text("ab`<>&\"'{}% \n", max_size=30))
def test_no_text_is_lost_and_no_tag_gets_through(text):
    made = str(pages._environment().get_template("prose.html").module.prose(text))
    bare = re.sub("</?code>", "`", made)
    assert "<" not in bare and ">" not in bare and unescape(bare) == text


def test_code_is_shown_as_code_wherever_something_is_said():
    rows = [row("ada", id, 1, message="see `scores`", comment="try `max`", misconception="m", properties=(("p `q`", 1, 5),),
                review=("`r`",)) for id in references()]
    one = Submission("ada", "x.ipynb", {"3.1": "x = '`'"}, ("note `n`",))
    page = pages.student_page(one, rows, assignment(), "d")
    read(page)
    assert all(f"<code>{part}</code>" in page for part in ("scores", "max", "q", "n")) and "x = &#39;`&#39;" in page
    page = pages.class_page([one], rows, [], assignment(), "d")
    read(page)
    assert all(f"<code>{part}</code>" in page for part in ("scores", "r", "n"))
def test_who_handed_in_nothing_that_can_be_graded_is_to_be_looked_at():
    why = "nothing to grade: x.ipynb is no notebook that can be read"
    people = [Submission("a", "x", {}), Submission("b", "x", {}, ("x.ipynb is odd",))]
    rows = [row(name, id, 0, reason=why if name == "b" else "the cell is odd", attempted=name == "a")
            for name in "ab" for id in references()]
    text = read(pages.class_page(people, rows, [], assignment(), "today"))
    assert "1 student to look at" in text and f"b · {why}" in text and text.count(why) == 1
    mine = read(pages.student_page(people[1], rows[6:], assignment(), "d"))
    assert mine.index("x.ipynb is odd") < mine.index("3.3 · ") and mine.count(pages.sentence(why)) == 6 and "6 not attempted" in mine


@pytest.mark.parametrize("earned, maximum, counts", [
    ([], 21, [0] * 10), ([0, 21, 20.5, 10], 21, [1, 0, 0, 0, 1, 0, 0, 0, 0, 2]), ([1, 2, 3], 3, [0, 1, 2]), ([0], 0, [1]),
])
def test_the_distribution_has_every_student_in_one_bar(earned, maximum, counts):
    bins = pages._bins(earned, maximum)
    assert [one["count"] for one in bins] == counts and max(one["height"] for one in bins) <= 130


def test_labels_of_the_distribution_name_every_number_of_points_once():
    for maximum in range(1, 60):
        said = []
        for one in pages._bins([], maximum):
            low, _, high = one["label"].partition("–")
            said += range(int(low), int(high or low) + 1)
        assert said == list(range(maximum + 1)), maximum


def test_labels_are_true():
    for maximum in range(1, 60):
        for points in range(maximum + 1):
            (bar,) = [one for one in pages._bins([points], maximum) if one["count"]]
            low, _, high = bar["label"].partition("–")
            assert int(low) <= points <= int(high or low), (maximum, points)


def test_file_names_are_safe_and_told_apart():
    names = ["ada", "Ada", "../../x", "a/b", "ä", "é", "", "con", "x" * 300, "名前", "=1", "<a>", "a.b"]
    found = [page_name(name) for name in names]
    assert len({name.lower() for name in found}) == len(names)
    assert all(re.fullmatch(r"[A-Za-z0-9_]{1,50}-[0-9a-f]{8}\.html", name) for name in found)
