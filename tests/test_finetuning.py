"""Fine-tuning: every kind learns what can be learnt, answers without looking, and leaves the encoder as it was; baselines by hand."""

import os
from pathlib import Path

import pytest
import torch

from course_lib.data import datasets
from course_lib.data.labelling import Example, LabelledBatch, Window, collate_spans
from course_lib.models.bert import BERT, BERTConfig
from course_lib.recipes import finetuning, wild, word_counts
from course_lib.recipes.finetuning import SEQUENCES, SPANS, TOKENS, TOWN_TASKS, Task, fit, predict, read_spans, score, untrained
from course_lib.tokenizers.wordpiece import BERT_SPECIALS, WordPieceTokenizer

REAL = Path(os.environ.get("COURSE_DATA") or Path(__file__).resolve().parents[2] / "shared" / "data")
TOKENIZER = WordPieceTokenizer([*BERT_SPECIALS, *"abcdefgh?"])


def bert(max_len=24, vocab_size=TOKENIZER.vocab_size) -> BERT:
    torch.manual_seed(0)
    return BERT(BERTConfig(vocab_size, 32, 2, 2, max_len=max_len, dropout=0.0))


def toy(draw, kind, classes=()):
    return Task(kind, classes, lambda seed, split: iter(draw))


TOYS = {                                                                # each learnable, none from the first word alone
    "sequences": toy([Example((a,), (b,), "same" if a == b else "other") for a in "abc" for b in "abc"], SEQUENCES, ("same", "other")),
    "tokens": toy([Example((a, b), (), ("O", "B-x" if a == "a" else "I-x")) for a in "ab" for b in "cde"], TOKENS, ("O", "B-x", "I-x")),
    "spans": toy([Example((a, "?"), tuple(context), (context.index(a), context.index(a) + 1) if a in context else None)
                  for a in "abc" for context in ("dabe", "edca", "hbdg")], SPANS)}


@pytest.fixture(scope="module", params=TOYS)
def learnt(request):
    task = TOYS[request.param]
    examples = task.examples(99)
    encoder = bert()
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    model = fit(task, encoder, examples, TOKENIZER, steps=90, lr=3e-3, batch_size=len(examples))
    assert all(torch.equal(value, before[name]) for name, value in encoder.state_dict().items())        # a copy was trained
    return task, examples, model


def test_every_kind_learns_what_can_be_learnt(learnt):
    task, examples, model = learnt
    assert score(task, model, examples, TOKENIZER) == 1
    assert predict(task, model, examples, TOKENIZER, batch_size=2) == [example.label for example in examples]


def test_answers_do_not_depend_on_the_labels(learnt):
    task, examples, model = learnt
    assert predict(task, model, [example._replace(label="nonsense") for example in examples], TOKENIZER) == [e.label for e in examples]


def test_training_is_a_function_of_the_seed(learnt):
    task, examples, _ = learnt
    weights = [fit(task, bert(), examples, TOKENIZER, steps=2, batch_size=2, seed=seed).state_dict() for seed in (1, 1, 2)]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    assert not torch.equal(weights[0]["head.1.weight"], weights[2]["head.1.weight"])


def test_an_untrained_encoder_has_the_same_sizes_and_learnt_nothing():
    known, first, again, other = bert(), untrained(bert(), 1), untrained(bert(), 1), untrained(bert(), 2)
    assert known.config == first.config
    assert torch.equal(first.embedding.weight, again.embedding.weight)
    assert not any(torch.equal(x.embedding.weight, first.embedding.weight) for x in (known, other))


def test_a_label_of_another_task_and_a_text_that_is_too_long_are_named():
    with pytest.raises(ValueError, match="label: got 'x', expected one of same, other"):
        fit(TOYS["sequences"], bert(), [Example(("a",), ("b",), "x")], TOKENIZER)
    with pytest.raises(ValueError, match="example: got 23 tokens, expected at most 22, so that every word keeps its label"):
        fit(TOYS["tokens"], bert(), [Example(("a",) * 23, (), ("O",) * 23)], TOKENIZER)
    with pytest.raises(ValueError, match="span: got an answer of 21 tokens"):
        fit(TOYS["spans"], bert(), [Example(("a",), ("b",) * 30, (0, 21))], TOKENIZER)
    with pytest.raises(ValueError, match="rows: got none"):
        fit(TOYS["spans"], bert(), [], TOKENIZER)


def test_scores_are_shares_of_what_is_right():
    examples = TOYS["sequences"].examples(9)
    assert SEQUENCES.measure(["same"] * 9, examples) == pytest.approx(3 / 9)
    examples = [Example(("a", "b"), (), ("B-x", "O")), Example(("a",), (), ("B-x",))]
    assert TOKENS.measure([("B-x", "O"), ("O",)], examples) == pytest.approx(2 / 3)
    examples = [Example(("a", "?"), ("the", "b", "c"), (0, 2)), Example(("a", "?"), ("b",), None)]
    assert SPANS.measure([(1, 2), None], examples) == 1 and SPANS.measure([(1, 3), (0, 1)], examples) == 0
    assert SPANS.measure([None, None], examples) == 0.5


# --- answers from several windows ------------------------------------------------------------------------------------

def read(windows, favours, **parts):
    """What is read where the logits favour (row, place) → score for both ends, and are 0 elsewhere."""
    batch = collate_spans(windows, TOKENIZER)
    logits = torch.zeros(*batch.ids.shape, 2)
    for (row, place), favour in favours.items():
        logits[row, place] = favour
    return read_spans(logits, batch, windows, (), **parts)


def test_a_span_must_beat_no_answer_by_its_margin():
    windows = [Window([5, 6], [7, 8, 9], None, [0, 0, 1]), Window([5, 6], [8, 9, 7], None, [0, 1, 2])]      # the context begins at 4
    assert read(windows, {(0, 6): 2.0, (1, 0): 3.0, (1, 5): 2.0}) == [(4.0, (1, 2)), (-2.0, None)]
    assert read(windows, {(0, 6): 2.0, (1, 0): 3.0, (1, 5): 2.0}, least=5.0) == [(4.0, None), (-2.0, None)]
    assert read(windows, {(0, 6): 2.0, (1, 0): 3.0, (1, 5): 2.0}, least=-torch.inf) == [(4.0, (1, 2)), (-2.0, (1, 2))]
    assert read(windows, {(0, 1): 9.0, (0, 3): 9.0, (0, 5): 1.0, (1, 7): 9.0, (1, 4): 1.0}) == [(2.0, (0, 1)), (2.0, (0, 1))]


def test_where_every_question_has_an_answer_the_best_span_is_taken_however_poor():
    batch = collate_spans([Window([5], [7, 8], None, [0, 1])], TOKENIZER)
    logits = torch.zeros(1, 6, 2)
    logits[0, 0], logits[0, 4] = 9.0, 1.0
    assert wild.WILD_TASKS["xquad"].kind.read(logits, batch, [Window([5], [7, 8], None, [0, 1])], ()) == [(-16.0, (1, 2))]
    assert SPANS.read(logits, batch, [Window([5], [7, 8], None, [0, 1])], ()) == [(-16.0, None)]


def test_the_surest_window_answers():
    context = tuple("dddddddddddddddddddddddddddddb")
    task, example = TOYS["spans"], Example(("a", "?"), context, (29, 30))

    class Finds(torch.nn.Module):
        """Favours b greatly, g a little, and nothing else."""

        def __init__(self):
            super().__init__()
            self.bert, self.scores = bert(), torch.nn.Parameter(torch.zeros(TOKENIZER.vocab_size, 2))
            with torch.no_grad():
                self.scores[TOKENIZER.encode("b")[0]] = 5.0
                self.scores[TOKENIZER.encode("g")[0]] = 3.0

        def forward(self, ids, mask, segments):
            return self.scores[ids]

    assert predict(task, Finds(), [example], TOKENIZER, batch_size=1) == [(29, 30)]
    assert predict(task, Finds(), [example._replace(second=("g", *context)), example], TOKENIZER) == [(30, 31), (29, 30)]
    assert predict(task, Finds(), [example._replace(second=("b", *context[:-1], "g"))], TOKENIZER) == [(0, 1)]
    assert predict(task, Finds(), [example._replace(second=("d",) * 40)], TOKENIZER) == [None]


def test_steps_grow_with_the_examples():
    steps = [finetuning.steps_for(n) for n in (1, 50, 200, 1000, 5000, 10**6)]
    assert steps == sorted(steps) and steps[0] > 10 and steps[-1] == steps[-2]


# --- baselines -------------------------------------------------------------------------------------------------------

def test_counting_words_tells_texts_apart_and_no_order():
    seen = [Example(tuple(words), (), "good" if "a" in words else "bad") for words in ("ab", "ba", "bc", "cc", "ac", "cb", "ca")]
    assert word_counts.classify(seen, [Example(tuple(words), (), "") for words in ("aab", "bbc", "xa")]) == ["good", "bad", "good"]
    order = [Example(tuple(words), (), words[0]) for words in ("ab", "ba") * 5]
    assert len(set(word_counts.classify(order, order))) == 1


def test_counting_words_sees_what_two_texts_share():
    seen = [Example(tuple("abc"), (word,), "in" if word in "abc" else "out") for word in "abcdef"]
    assert word_counts.classify(seen, [Example(tuple("ghi"), (word,), "") for word in "gx"]) == ["in", "out"]


def test_the_penalty_weighs_rare_words_down():
    seen = [Example(("a",), (), "x")] * 6 + [Example(("b",), (), "y")]
    assert word_counts.classify(seen, seen, penalty=1e-3) == ["x"] * 6 + ["y"]
    assert word_counts.classify(seen, seen, penalty=1e3) == ["x"] * 7


def test_unseen_words_are_tagged_by_their_capital():
    seen = [Example(("Mia", "ran", "in", "Rome", "Rome"), (), ("P", "O", "O", "L", "P")), Example(("Tom", "Rome"), (), ("P", "L"))]
    assert word_counts.tag(seen, [Example(("Rome", "Ann", "sang", "Tom"), (), ())]) == [("L", "P", "O", "P")]


def test_a_baseline_answers_from_the_last_sentence_that_fits():
    context = ["Mia", "had", "the", "cup", ".", "Tom", "took", "the", "cup", ".", "Mia", "ran", "."]
    seen = [Example(("Who", "has", "it", "?"), ("Ben", "had", "it", "."), (0, 1)),
            Example(("Who", "has", "the", "pen", "?"), ("Ben", "had", "it", "."), None)]
    asked = [Example(("Who", "has", "the", "cup", "?"), context, None), Example(("Who", "has", "the", "pen", "?"), context, None)]
    assert word_counts.answer(seen, asked) == [(5, 6), None]
    assert word_counts.answer(seen, [Example(("Why", "?"), context, None)]) == [None]                   # such a question never came


# --- Tinytown and the real sets --------------------------------------------------------------------------------------

@pytest.mark.parametrize("name", TOWN_TASKS)
def test_tinytowns_tasks_go_all_the_way(name):
    task = TOWN_TASKS[name]
    seen, asked = task.examples(40), task.examples(20, 1)
    tokenizer = WordPieceTokenizer.train((" ".join((*e.first, *e.second)) for e in seen), 200)
    model = fit(task, bert(128, tokenizer.vocab_size), seen, tokenizer, steps=3, batch_size=8)
    assert 0 <= score(task, model, asked, tokenizer) <= 1
    assert finetuning.score_of_counts(task, seen, seen) > 0.5           # at least what it has seen
    assert task.kind.measure([example.label for example in asked], asked) == 1


@pytest.mark.parametrize("name", wild.WILD_TASKS)
def test_real_sets_go_all_the_way(name, monkeypatch):
    if not REAL.is_dir():
        pytest.skip(f"no real data at {REAL}; set COURSE_DATA to a folder that holds it")
    monkeypatch.setenv("COURSE_DATA", str(REAL))
    task, tokenizer = wild.WILD_TASKS[name], wild.tokenizer()
    seen, asked = task.examples(16), task.examples(10, 0, "test")
    assert task.examples(16, 1) != seen == task.examples(16)
    model = fit(task, bert(384, tokenizer.vocab_size), seen, tokenizer, steps=2, batch_size=4)
    said = predict(task, model, asked, tokenizer)
    assert len(said) == len(asked) and 0 <= task.kind.measure(said, asked) <= 1
    assert task.kind.measure([example.label for example in asked], asked) == 1


def test_spans_of_words_give_the_characters_of_the_answers_back(monkeypatch):
    if not REAL.is_dir():
        pytest.skip(f"no real data at {REAL}; set COURSE_DATA to a folder that holds it")
    monkeypatch.setenv("COURSE_DATA", str(REAL))
    rows = [row for split in ("train", "valid", "test") for row in datasets.load("xquad", split=split)]
    spans = [wild.example_of_answered(row).label for row in rows]
    wrong = [row.answer for row, span in zip(rows, spans) if wild.text_of(row.context, span) != row.answer]
    assert wrong == ["7,000,000 square kilometres (2,70"]               # the data's own slip: it ends inside the number 2,700,000
    scores = wild.squad_scores(spans, rows)
    assert scores.exact == pytest.approx(1189 / 1190) and scores.f1 > scores.exact
    assert wild.squad_scores([None] * len(rows), rows) == (0, 0)
    with pytest.raises(ValueError, match="spans, rows: got 2 and 1, expected equally many"):
        wild.squad_scores([None, None], rows[:1])


def test_a_batch_on_another_device_is_read_there():
    batch = collate_spans([Window([5], [6], (0, 0), [0])], TOKENIZER)
    assert isinstance(batch, LabelledBatch) and batch.to(torch.device("cpu")).counts.tolist() == batch.counts.tolist()
