"""The figures of chapters 07 and 08 show what the library does: packing, hiding, word pieces and their labels."""

from itertools import pairwise

import pytest

from course_lib.data.masking import Masking, pack_pairs
from course_lib.data.tinytown import stories
from course_lib.data.tinytown.phrases import NOUNS
from course_lib.tokenizers import WordPieceTokenizer
from figures import bert_row, bert_tasks
from figures._tokens import columns


def at(drawing, height):
    """What is written around a height, by the middle of the text."""
    return {round((t.left + t.right) / 2): t.what for t in drawing.texts if abs((t.top + t.bottom) / 2 - height) < 6}


def test_the_row_of_bert_is_packed_and_hidden_as_the_library_does_it():
    names = sorted(set(bert_row.STOOD))
    ids = [[names.index(word) for word in part] for part in (bert_row.FIRST, bert_row.SECOND)]
    packed, _, segments = pack_pairs([ids], names.index("[CLS]"), names.index("[SEP]"), 0)
    assert [names[i] for i in packed[0]] == bert_row.STOOD and segments[0].tolist() == bert_row.SEGMENTS
    changed = {k: word for k, word in enumerate(bert_row.SHOWN) if word != bert_row.STOOD[k]}
    ways = {k: word if word == "[MASK]" else "other" for k, word in changed.items()}
    ways |= {k: "same" for k in bert_row.CHOSEN.keys() - changed}
    assert sorted(ways.values()) == ["[MASK]", "other", "same"] and changed.keys() <= bert_row.CHOSEN.keys()
    assert not {bert_row.STOOD[k] for k in bert_row.CHOSEN} & {"[CLS]", "[SEP]"}
    shares = [bert_row.SHARES[place][1] / 100 for way in ("[MASK]", "other", "same") for place in ways if ways[place] == way]
    masking = Masking(0, (0, 1), 10)                                        # its defaults are the paper's
    assert tuple(shares) == masking.shown_as
    assert f"{100 * masking.rate:.0f} % of the words are chosen," in {t.what for t in bert_row.draw().texts}


def test_the_row_of_bert_asks_over_the_right_places():
    drawing = bert_row.draw()
    words, answers = (at(drawing, height) for height in (bert_row.WORD, bert_row.ANSWER))
    middles = sorted(x for x, what in words.items() if what != "word")
    assert [words[x] for x in middles] == bert_row.SHOWN
    expected = {0: "yes"} | {k: bert_row.STOOD[k] for k in bert_row.CHOSEN}
    assert {middles.index(x): what for x, what in answers.items() if x in middles} == expected
    for height, row in ((bert_row.POSITION, range(len(middles))), (bert_row.SEGMENT, bert_row.SEGMENTS)):
        assert [what for x, what in sorted(at(drawing, height).items()) if x in middles] == list(map(str, row))


def test_tags_stand_at_the_first_pieces_and_are_those_of_tinytown():
    tokenizer = WordPieceTokenizer.train((story.text for story in stories(300, seed=0)), 300)
    words = ["mia", "took", "the", "clock", "to", "the", "park"]
    cut = [[tokenizer.vocabulary[i] for i in tokenizer.encode(word)] for word in words]
    assert ["[CLS]", *(piece for pieces in cut for piece in pieces), "[SEP]"] == bert_tasks.TAGGED
    kinds = {"mia": "person"} | {name: kind for name, noun in NOUNS.items() for kind in ("thing", "place") if kind in noun.tags}
    tags = [tag for word, pieces in zip(words, cut, strict=True) for tag in (kinds.get(word, "O"), *"–" * (len(pieces) - 1))]
    assert ["", *tags, ""] == bert_tasks.TAGS and set(bert_tasks.TAGS) - {"", "–"} == set(bert_tasks.CLASSES)


def test_a_span_starts_and_ends_in_the_context_and_chances_add_up():
    context = bert_tasks.SPAN[bert_tasks.SPAN.index("[SEP]") + 1:-1]
    for chances in (bert_tasks.START, bert_tasks.END):
        assert len(chances) == len(context) and sum(chances) == pytest.approx(1)
    assert "answer: the park" in {t.what for t in bert_tasks.draw().texts} and context[-2:] == ["the", "park"]
    assert sum(bert_tasks.PAIRED.values()) == pytest.approx(1) == sum(bert_tasks.FELT.values())


def leaving(drawing, height):
    """The middles of the lines that start at a height, from left to right."""
    return sorted(round(points[0][0]) for points, _ in drawing.strokes if abs(points[0][1] - height) < 1)


def test_arrows_leave_the_encoders_of_bert_where_something_is_asked():
    row, tasks = bert_row.draw(), bert_tasks.draw()
    middles = sorted(x for x, what in at(row, bert_row.WORD).items() if what != "word")
    assert leaving(row, bert_row.BAND - 20) == [middles[k] for k in (0, *sorted(bert_row.CHOSEN))]
    assert leaving(row, bert_row.WORD - 15) == middles
    first = [k for k, tag in enumerate(bert_tasks.TAGS) if tag not in ("", "–")]
    asked = ((bert_tasks.PAIR, [0], bert_tasks.SINGLE, [0]), (bert_tasks.SPAN, range(5, 10), bert_tasks.TAGGED, first))
    for y, (left, of_left, right, of_right) in zip((78, 352), asked, strict=True):         # the panels' titles
        tokens = at(tasks, y + bert_tasks.TOKENS)
        middles = sorted(tokens)
        assert [tokens[x] for x in middles] == [*left, *right] and leaving(tasks, y + bert_tasks.TOKENS - 14) == middles
        places = [*of_left, *(len(left) + k for k in of_right)]
        assert leaving(tasks, y + bert_tasks.BAND - 16) == [middles[k] for k in places]


def test_columns_fill_the_line_side_by_side():
    row = columns(["the", ".", "[MASK]"], 10, 200, 14)
    assert row[0].x - row[0].wide / 2 == 10 and row[-1].x + row[-1].wide / 2 == pytest.approx(200)
    gaps = [(b.x - b.wide / 2) - (a.x + a.wide / 2) for a, b in pairwise(row)]
    assert gaps[0] == pytest.approx(gaps[1]) and gaps[0] > 1 and row[1].wide == 24
    with pytest.raises(ValueError, match=r"texts: got .* pixels of boxes, expected at most 98"):
        columns(["the", ".", "[MASK]"], 0, 100, 14)
