"""Drawn figures: the committed file is what the code draws; nothing overlaps, is cut off, small or pale."""

import math
import subprocess
import sys
import xml.etree.ElementTree as ET
from importlib import import_module
from itertools import combinations, pairwise
from pathlib import Path

import pytest

from course_lib.tokenizers import merge
from figures import _draw, beam_search, byte_pairs, causal_mask, encoder_decoder, kv_cache, multi_head, transformer
from figures._draw import Drawing, number, width_of
from figures.additive_attention import SCORES, softmax

ROOT = Path(__file__).parents[1]
NAMES = sorted(path.stem for path in (ROOT / "figures").glob("*.py") if not path.stem.startswith("_"))
SVG = "{http://www.w3.org/2000/svg}"


def module(name):
    return import_module(f"figures.{name}")


@pytest.fixture(params=NAMES, scope="module")
def drawing(request):
    return module(request.param).draw()


@pytest.mark.parametrize("name", NAMES)
def test_the_committed_file_is_what_the_code_draws(name):
    committed = ROOT / "figures" / f"{name}.svg"
    assert committed.exists(), f"python -m figures {name}"
    drawn = module(name).draw().svg().encode("utf-8")
    assert committed.read_bytes() == drawn, f"redraw: python -m figures {name}"


def test_no_drawing_is_without_its_code():
    assert {path.stem for path in (ROOT / "figures").glob("*.svg")} == set(NAMES)


def test_text_is_outlines_and_the_file_is_complete(drawing):
    root = ET.fromstring(drawing.svg())
    assert root.tag == f"{SVG}svg" and root.get("role") == "img"
    assert len(root.find(f"{SVG}title").text) > 10 and len(root.find(f"{SVG}desc").text) > 100
    assert not root.findall(f".//{SVG}text")
    known = {f"#{path.get('id')}" for path in root.find(f"{SVG}defs")}
    used = {use.get("href") for use in root.iter(f"{SVG}use")}
    assert used == known
    assert "http" not in drawing.svg().replace("http://www.w3.org/2000/svg", "")
    card = root.find(f"{SVG}rect")
    assert card.get("fill") == "#FFFFFF" and float(card.get("width")) >= drawing.width - 1  # in dark mode too
    assert len(drawing.svg().encode()) < 60_000


def test_letters_are_9_points_or_more_at_900_pixels(drawing):            # subscripts, too
    assert drawing.width == 900
    assert min(text.size for text in drawing.texts) >= 12


def test_nothing_is_cut_off(drawing):
    for box in (*drawing.texts, *drawing.shapes):
        assert box.left >= 8 and box.top >= 8, box
        assert box.right <= drawing.width - 8 and box.bottom <= drawing.height - 8, box
    for points, _ in drawing.strokes:
        assert all(4 <= x <= drawing.width - 4 and 4 <= y <= drawing.height - 4 for x, y in points), points


def test_no_text_covers_another(drawing):
    for a, b in combinations(drawing.texts, 2):
        across = min(a.right, b.right) - max(a.left, b.left)
        down = min(a.bottom, b.bottom) - max(a.top, b.top)
        assert across < -2 or down < 0.5, (a.what, b.what)


def surface(drawing, text):
    """The shape a text stands on: the last one drawn before it that holds its middle."""
    x, y = (text.left + text.right) / 2, (text.top + text.bottom) / 2
    under = [s for s in drawing.shapes if s.order < text.order and s.fill_visible
             and s.left <= x <= s.right and s.top <= y <= s.bottom]
    return under[-1] if under else None


def test_text_stays_inside_its_box(drawing):
    for text in drawing.texts:
        shape = surface(drawing, text)
        if shape is not None and shape.what != "polygon":
            assert shape.left + 1 <= text.left and text.right <= shape.right - 1, (text.what, shape)


def test_no_shape_is_drawn_over_a_text(drawing):
    for text in drawing.texts:
        for shape in drawing.shapes:
            if shape.order > text.order and shape.fill_visible:
                apart = (shape.right <= text.left or text.right <= shape.left or shape.bottom <= text.top + 1
                         or text.bottom - 1 <= shape.top)
                assert apart, (text.what, shape)


def crosses(a, b, box):
    """Whether the segment a–b meets the box (Liang & Barsky 1984)."""
    low, high = 0.0, 1.0
    for start, end, first, last in ((a[0], b[0], box.left, box.right), (a[1], b[1], box.top, box.bottom)):
        step = end - start
        if step == 0:
            if not first < start < last:
                return False
            continue
        near, far = sorted(((first - start) / step, (last - start) / step))
        low, high = max(low, near), min(high, far)
    return low < high


def test_no_line_runs_through_a_text(drawing):
    for text in drawing.texts:
        shape = surface(drawing, text)
        for points, order in drawing.strokes:
            if shape is not None and order < shape.order:
                continue                                                # hidden below the box of the text
            for a, b in pairwise(points):
                assert not crosses(a, b, text), (text.what, a, b)


def luminance(colour):
    channels = [int(colour[k:k + 2], 16) / 255 for k in (1, 3, 5)]
    red, green, blue = (c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in channels)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def test_letters_stand_out_from_what_is_behind_them(drawing):
    for text in drawing.texts:
        shape = surface(drawing, text)
        below = luminance(shape.colour if shape else "#FFFFFF")
        dark, light = sorted((luminance(text.colour), below))
        assert (light + 0.05) / (dark + 0.05) >= 4.5, (text.what, text.colour, shape)     # WCAG 2.1, level AA


def test_arrows_do_not_start_and_end_in_the_same_place(drawing):
    for points, _ in drawing.strokes:
        assert all(a != b for a, b in pairwise(points)), points


# --- what the figures say is true


def test_beam_search_wins_where_greedy_loses():
    steps, greedy = beam_search.search(), beam_search.greedy()
    best = max(steps[-1], key=lambda node: node.score)
    assert best is steps[-1][0] and best.words != greedy
    assert next(node.score for node in steps[-1] if node.words == greedy) < best.score - 1
    for past, words in beam_search.MODEL.items():
        assert sum(2.718281828**log_p for log_p in words.values()) <= 1, past
    for step in steps:
        assert [node.kept for node in step] == [k < beam_search.WIDTH for k in range(len(step))]
        scores = [round(node.score, 6) for node in step]
        assert scores == sorted(scores, reverse=True)
        for node in step:
            total = sum(beam_search.MODEL[node.words[:k]][word] for k, word in enumerate(node.words))
            assert node.score == pytest.approx(total)


def test_attention_weights_are_the_softmax_of_the_scores_shown():
    weights = softmax(SCORES)
    assert sum(weights) == pytest.approx(1) and weights.index(max(weights)) == SCORES.index(max(SCORES))
    shown = {text.what for text in module("additive_attention").draw().texts}
    assert {f"{w:.2f}" for w in weights} <= shown and sum(round(w, 2) for w in weights) == pytest.approx(1)


def check_causal_weights(weights, scores):
    """exp(s_j) / Σ exp(s_k) over what may be seen, exactly 0 elsewhere."""
    for i, (row, raw) in enumerate(zip(weights, scores, strict=True)):
        powers = [math.exp(s) for s in raw[:i + 1]]
        assert row[:i + 1] == pytest.approx([p / sum(powers) for p in powers])
        assert len(row) == len(scores) and not any(row[i + 1:])


def test_causal_weights_are_the_softmax_of_what_may_be_seen():
    check_causal_weights(causal_mask.weights(), causal_mask.SCORES)
    shown = [t.what for t in causal_mask.draw().texts]
    for row in causal_mask.weights():
        assert sum(round(w, 2) for w in row) == pytest.approx(1)                # as printed, too
        assert {f"{w:.2f}" for w in row if w} <= set(shown)
    assert shown.count("−∞") == shown.count("0") == 10


def test_the_three_heads_are_causal_and_look_in_three_ways():
    strongest = set()
    for head, scores in zip(multi_head.weights(), multi_head.SCORES, strict=True):
        check_causal_weights(head, scores)
        strongest.add(tuple(row.index(max(row)) for row in head))
    assert strongest == {(0, 0, 1, 2), (0, 1, 2, 3), (0, 0, 0, 0)}       # the one before, itself, the first
    steps = [name for name, *_ in multi_head.STEPS]
    assert steps == ["create", "split", "score", "sum", "merge", "project"]


def test_decoder_reads_what_it_says_one_step_later():
    texts = encoder_decoder.draw().texts
    rows = [sorted((t for t in texts if abs((t.top + t.bottom) / 2 - height) < 6), key=lambda t: t.left)
            for height in (encoder_decoder.SAID, encoder_decoder.READ)]
    said = [t.what for t in rows[0] if t.left > 500]
    read = [t.what for t in rows[1] if t.left > 500]
    assert said == [*encoder_decoder.TARGET, "<eos>"] and read == ["<bos>", *said[:-1]]


def test_the_transformer_reads_what_it_says_one_place_later():
    low = transformer.LOWER
    texts = [t for t in transformer.draw().texts if t.size == 14 and t.top > low - 120]
    texts.sort(key=lambda t: t.top)
    said = " ".join(t.what for t in texts if t.left > 780 and t.bottom < low - 50).split()
    read = " ".join(t.what for t in texts if t.left == 24).split()
    assert said == [*transformer.TARGET, "<eos>"] and read == ["<bos>", *said[:-1]]


def test_the_arc_fills_in_the_chapters_that_are_ready():
    arc = module("arc")
    numbers = [chapter.number for act in arc.ACTS for chapter in act.chapters]
    assert numbers == list(range(14))
    white = lambda d: {t.what for t in d.texts if t.colour == "#FFFFFF"}  # noqa: E731
    assert white(arc.draw(ready=())) == set()
    assert white(arc.draw(ready=(4, 13))) == {"04", "13"}
    assert white(arc.draw()) == {f"{n:02d}" for n in arc.READY}
    assert "04 Self-attention (ready)" in arc.draw(ready=(4,)).description


# --- the writer itself


def test_width_of_adds_up_and_small_print_is_smaller():
    assert width_of("ab", 10) == pytest.approx(width_of("a", 10) + width_of("b", 10))
    assert width_of("a_b", 10) == pytest.approx(width_of("a", 10) + 0.8 * width_of("b", 10))
    assert width_of("a^{bc}", 20) == pytest.approx(width_of("a", 20) + 0.8 * width_of("bc", 20))
    assert width_of("", 10) == 0


def test_numbers_are_short():
    assert [number(x) for x in (1.0, 0.126, -0.001, 12.50)] == ["1", "0.13", "0", "12.5"]


def test_a_letter_the_font_lacks_is_named():
    with pytest.raises(ValueError, match="text: got '방'"):
        Drawing(10, 10, "t", "d").text(0, 0, "방")


def test_one_command_redraws_and_names_what_it_does_not_know(tmp_path):
    command = [sys.executable, "-m", "figures"]
    run = subprocess.run([*command, "no_such_figure"], cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 2 and "no figure called no_such_figure" in run.stderr
    assert "gru_lstm" in run.stderr
    run = subprocess.run([*command, "--to", tmp_path], cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0
    drawn = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert drawn == {path.name: path.read_bytes() for path in (ROOT / "figures").glob("*.svg")}


def test_palette_is_okabe_and_ito():
    assert {_draw.BLUE, _draw.ORANGE, _draw.GREEN, _draw.VERMILLION, _draw.PURPLE} == {
        "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7"}


def test_byte_pairs_are_those_of_the_library():
    steps = byte_pairs.steps()
    for name, (before, pair, _), (after, _, _) in zip(byte_pairs.NAMES, steps, steps[1:]):
        assert merge(before, pair, name) == after
    assert steps[0][2] == 4 and steps[1][0].count("Z") == 2 and "".join(steps[-1][0]) == "XdXac"


def test_the_cache_leaves_one_row():
    n = len(kv_cache.WORDS)
    assert sum(map(sum, kv_cache.computed(False))) == n * (n + 1) // 2
    assert [sum(row) for row in kv_cache.computed(True)] == [0] * (n - 1) + [n]
