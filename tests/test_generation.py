"""Searches against enumeration of every sentence, sampling against its distribution."""

import itertools
import math

import pytest
import torch

from course_lib.generation import beam_search, filter_logits, greedy, sample
from course_lib.models.seq2seq import Seq2Seq, Seq2SeqConfig

BOS, EOS = 2, 3


class Story:
    """A random model in which every word depends on all words before: h' = tanh(A h + B[word]), scores C h."""

    def __init__(self, seed, vocab=5, width=6, sharpness=2.0, eos_bias=0.0):
        g = torch.Generator().manual_seed(seed)
        self.a, self.b, self.c = (torch.randn(*shape, generator=g) for shape in
                                  ((width, width), (vocab, width), (width, vocab)))
        self.c = self.c * sharpness
        self.bias = torch.zeros(vocab)
        self.bias[EOS] = eos_bias

    def start(self, beginnings):
        return torch.full((len(beginnings),), BOS), beginnings

    def step(self, token, state):
        state = torch.tanh(state @ self.a + self.b[token])
        return state @ self.c + self.bias, state

    def reorder(self, state, index):
        return state[index]

    def log_prob(self, beginning, sentence):
        """log p of a whole sentence with its <eos>, word by word in float64 and plain Python."""
        h, total, last = beginning.tolist(), [], BOS
        a, b, c, bias = (t.tolist() for t in (self.a, self.b, self.c, self.bias))
        for word in [*sentence, EOS]:
            h = [math.tanh(math.fsum(x * a[i][j] for i, x in enumerate(h)) + b[last][j]) for j in range(len(h))]
            scores = [math.fsum(x * c[i][v] for i, x in enumerate(h)) + bias[v] for v in range(len(bias))]
            total.append(scores[word] - math.log(math.fsum(map(math.exp, scores))))
            last = word
        return math.fsum(total)


def beginnings(n, seed=0, width=6):
    return torch.randn(n, width, generator=torch.Generator().manual_seed(seed))


WORDS = [0, 1, 2, 4]                                                    # all of a vocabulary of 5 but <eos>


def all_sentences(max_len):
    """Every sentence of up to max_len words, <eos> included in the count."""
    return [list(s) for n in range(max_len) for s in itertools.product(WORDS, repeat=n)]


# --- beam search -----------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("penalty", [0.0, 0.6, 1.0, 2.0])
@pytest.mark.parametrize("seed", range(4))
def test_a_beam_as_wide_as_the_beginnings_finds_the_best_of_all_sentences(seed, penalty):
    story, starts, max_len = Story(seed), beginnings(2, seed), 4
    found = beam_search(story, starts, beam_size=len(WORDS)**(max_len - 1), max_len=max_len, length_penalty=penalty)
    for i, start in enumerate(starts):
        ranked = sorted((story.log_prob(start, s) / (len(s) + 1)**penalty, s) for s in all_sentences(max_len))
        assert ranked[-1][0] > ranked[-2][0] + 1e-5                     # a clear winner, or the test says nothing
        assert found.ids[i] == ranked[-1][1] and found.finished[i]
        assert found.log_probs[i].item() == pytest.approx(story.log_prob(start, found.ids[i]), abs=1e-5)


def test_the_penalty_changes_the_winner_toward_longer_sentences():
    lengths = {p: sum(len(ids) for seed in range(8) for ids in beam_search(
        Story(seed), beginnings(4, seed), beam_size=8, max_len=6, length_penalty=p).ids) for p in (0.0, 1.0, 2.0)}
    assert lengths[0.0] < lengths[1.0] < lengths[2.0]


@pytest.mark.parametrize("seed", range(6))
def test_beam_one_is_the_best_place_to_stop_on_the_greedy_path(seed):
    story, starts, max_len = Story(seed, eos_bias=-1.0), beginnings(3, seed), 7
    never = Story(seed)                                                 # the same story, told without ever stopping
    never.bias[EOS] = -1e9
    path = greedy(never, starts, max_len=max_len).ids
    for penalty in (0.0, 1.0):
        found = beam_search(story, starts, beam_size=1, max_len=max_len, length_penalty=penalty)
        for i, start in enumerate(starts):
            prefixes = [path[i][:n] for n in range(max_len)]
            best = max(prefixes, key=lambda s: story.log_prob(start, s) / (len(s) + 1)**penalty)
            assert found.ids[i] == best
            assert found.log_probs[i].item() == pytest.approx(story.log_prob(start, best), abs=1e-5)


@pytest.mark.parametrize("seed", range(6))
def test_beam_one_says_at_least_as_probable_a_sentence_as_greedy(seed):
    story, starts = Story(seed, eos_bias=2.0), beginnings(5, seed)
    short, plain = beam_search(story, starts, beam_size=1, max_len=8), greedy(story, starts, max_len=8)
    done = plain.finished
    assert done.any() and (short.log_probs[done] >= plain.log_probs[done] - 1e-5).all()
    assert all(said == full[:len(said)] for said, full in zip(short.ids, plain.ids))


@pytest.mark.parametrize("penalty", [0.0, 1.0])
@pytest.mark.parametrize("beam", [1, 2, 3, 5])
def test_a_batch_is_searched_as_its_sentences_one_by_one(beam, penalty):
    story, starts = Story(11), beginnings(6)
    together = beam_search(story, starts, beam_size=beam, max_len=6, length_penalty=penalty)
    for i in range(6):
        alone = beam_search(story, starts[i:i + 1], beam_size=beam, max_len=6, length_penalty=penalty)
        assert alone.ids == [together.ids[i]]
        torch.testing.assert_close(alone.log_probs[0], together.log_probs[i])


def test_any_beam_reports_the_true_log_probability_and_never_beats_the_exhaustive_one():
    for seed in range(4):
        story, starts = Story(seed), beginnings(3, seed)
        widest = beam_search(story, starts, beam_size=256, max_len=5)
        for beam in (1, 2, 4):
            found = beam_search(story, starts, beam_size=beam, max_len=5)
            for i, start in enumerate(starts):
                assert found.log_probs[i].item() == pytest.approx(story.log_prob(start, found.ids[i]), abs=1e-5)
            assert (found.log_probs <= widest.log_probs + 1e-5).all()


class Table:
    """Next-word probabilities by the last word: {word: {next: p}}; behind a word without a line comes the end."""

    def __init__(self, table, vocab=8):
        self.logits = torch.full((vocab, vocab), -torch.inf)
        self.logits[[v for v in range(vocab) if v not in table], EOS] = 0
        for word, following in table.items():
            for after, p in following.items():
                self.logits[word, after] = math.log(p)

    def start(self, rows):
        return torch.full((len(rows),), BOS), torch.zeros(len(rows), 1)

    def step(self, token, state):
        return self.logits[token], state

    def reorder(self, state, index):
        return state[index]


# <bos> leads to 4 (0.6) or 5 (0.4); behind 4 all is uncertain, behind 5 all is clear.
GARDEN = {BOS: {4: 0.6, 5: 0.4}, 4: {EOS: 0.3, 6: 0.36, 7: 0.34}, 5: {EOS: 1.0}}


def test_beam_search_leaves_the_garden_path_that_greedy_takes():
    rows = torch.zeros(1)
    taken = greedy(Table(GARDEN), rows)
    assert taken.ids == [[4, 6]] and taken.log_probs.item() == pytest.approx(math.log(0.6 * 0.36))
    found = beam_search(Table(GARDEN), rows, beam_size=2)
    assert found.ids == [[5]] and found.log_probs.item() == pytest.approx(math.log(0.4))
    assert beam_search(Table(GARDEN), rows, beam_size=1).ids == [[4, 6]]


def test_a_sentence_that_cannot_end_in_time_is_cut_and_says_so():
    endless = Table({BOS: {4: 1.0}, 4: {5: 0.75, 4: 0.25}, 5: {4: 1.0}})
    for found in (greedy(endless, torch.zeros(2), max_len=4), beam_search(endless, torch.zeros(2), beam_size=2, max_len=4)):
        assert found.ids == [[4, 5, 4, 5]] * 2 and not found.finished.any()
        assert found.log_probs.tolist() == pytest.approx([2 * math.log(0.75)] * 2)
    in_time = beam_search(Table({BOS: {4: 1.0}, 4: {5: 1.0}, 5: {EOS: 1.0}}), torch.zeros(1), max_len=3)
    assert in_time.ids == [[4, 5]] and in_time.finished.all()


def test_the_empty_sentence_can_win():
    assert beam_search(Table({BOS: {EOS: 0.9, 4: 0.1}, 4: {EOS: 1.0}}), torch.zeros(1)).ids == [[]]
    assert greedy(Table({BOS: {EOS: 0.9, 4: 0.1}, 4: {EOS: 1.0}}), torch.zeros(1)).ids == [[]]


def test_equal_scores_give_the_same_answer_every_time_and_in_any_batch():
    tie = Table({BOS: {4: 0.5, 5: 0.5}, 4: {EOS: 0.5, 6: 0.5}, 5: {EOS: 0.5, 6: 0.5}, 6: {EOS: 1.0}})
    for search in (greedy, beam_search):
        answers = {tuple(search(tie, torch.zeros(n)).ids[i]) for n in (1, 2, 5) for i in range(n)}
        assert len(answers) == 1


# --- greedy, on the real model -------------------------------------------------------------------------------------------

def sources():
    g = torch.Generator().manual_seed(1)
    mask = torch.arange(7) < torch.tensor([[7], [2], [5], [1], [4], [6]])
    return torch.randint(4, 11, (6, 7), generator=g) * mask, mask


@pytest.fixture(scope="module")
def network():
    """The first random network that says different things, some of which end in time and some not."""
    for seed in range(100):
        torch.manual_seed(seed)
        net = Seq2Seq(Seq2SeqConfig(11, 9, 8, 12, 6)).eval()
        with torch.no_grad():
            for p in net.parameters():
                p.mul_(3)                                               # opinions strong enough to differ by sentence
        said = greedy(net, *sources(), max_len=9)
        if len({tuple(ids) for ids in said.ids}) > 3 and 1 < said.finished.sum() < 5:
            return net
    raise AssertionError("no network of a hundred is varied enough")


def test_greedy_says_the_best_word_and_its_log_prob_is_that_of_teacher_forcing(network):
    source, mask = sources()
    said = greedy(network, source, mask, max_len=9)
    for i, ids in enumerate(said.ids):
        target_out = [*ids, EOS] if said.finished[i] else ids
        with torch.no_grad():
            logits = network(source[i:i + 1], mask[i:i + 1], torch.tensor([[BOS, *target_out[:-1]]]))[0]
        assert logits.argmax(-1).tolist() == target_out
        expected = sum(logits.double().log_softmax(-1)[t, word].item() for t, word in enumerate(target_out))
        assert said.log_probs[i].item() == pytest.approx(expected, abs=1e-5)
        assert len(target_out) == 9 or said.finished[i]


@pytest.mark.parametrize("search", [lambda *a: greedy(*a, max_len=9), lambda *a: beam_search(*a, beam_size=3, max_len=9)],
                         ids=["greedy", "beam"])
def test_padded_sentences_come_out_as_they_do_alone(network, search):
    source, mask = sources()
    together = search(network, source, mask)
    for i, n in enumerate(mask.sum(1)):
        alone = search(network, source[i:i + 1, :n], mask[i:i + 1, :n])
        assert alone.ids == [together.ids[i]] and alone.finished[0] == together.finished[i]
        torch.testing.assert_close(alone.log_probs[0], together.log_probs[i], rtol=1e-4, atol=1e-4)


def test_generating_needs_no_gradient(network):
    assert not greedy(network, *sources()).log_probs.requires_grad
    assert not beam_search(network, *sources()).log_probs.requires_grad


# --- the distribution that sampling draws from --------------------------------------------------------------------------

def filter_by_hand(logits, temperature, top_k, top_p):
    """One row, in plain Python: probabilities after temperature, the k best, the smallest set that reaches p."""
    raised = [math.exp(s / temperature) for s in logits]
    order = sorted(range(len(logits)), key=lambda v: -raised[v])
    kept = order[:top_k] if top_k else order
    mass, nucleus = math.fsum(raised[v] for v in kept), []
    for v in kept:
        if top_p is None or math.fsum(raised[w] for w in nucleus) / mass < top_p:
            nucleus.append(v)
    mass = math.fsum(raised[v] for v in nucleus)
    return [raised[v] / mass if v in nucleus else 0.0 for v in range(len(logits))]


SETTINGS = [(1.0, None, None), (0.5, None, None), (2.0, None, None), (1.0, 3, None), (1.0, 1, None), (1.0, 99, None),
            (1.0, None, 0.7), (1.0, None, 1e-6), (1.0, None, 1.0), (0.7, 4, 0.8), (1.5, 5, 0.5)]


@pytest.mark.parametrize("temperature, top_k, top_p", SETTINGS)
def test_filtering_equals_the_definition(temperature, top_k, top_p):
    logits = 2 * torch.randn(6, 9, generator=torch.Generator().manual_seed(0))
    probs = filter_logits(logits, temperature, top_k, top_p).exp()
    expected = torch.tensor([filter_by_hand(row, temperature, top_k, top_p) for row in logits.double().tolist()])
    assert torch.equal(probs == 0, expected == 0)
    torch.testing.assert_close(probs, expected, rtol=1e-5, atol=0)


def test_filters_keep_exactly_as_many_among_equals_and_never_none():
    equal = torch.zeros(2, 6)
    for k in range(1, 7):
        assert ((filter_logits(equal, top_k=k).exp() > 0).sum(1) == k).all()
    for p, n in ((0.01, 1), (0.3, 2), (0.5, 3), (0.9, 6), (1.0, 6)):
        assert ((filter_logits(equal, top_p=p).exp() > 0).sum(1) == n).all(), p


def test_a_nucleus_of_one_keeps_every_word_of_a_large_vocabulary():
    logits = 5 * torch.randn(4, 20000, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(filter_logits(logits, top_p=1.0), logits.log_softmax(-1))


def test_filtering_starts_from_half_precision_in_float32_and_keeps_impossible_words_impossible():
    logits = torch.tensor([[1.0, -torch.inf, 2.0]], dtype=torch.bfloat16)
    assert filter_logits(logits).dtype == torch.float32
    for setting in ({}, {"top_p": 0.99}, {"top_k": 3}, {"temperature": 3.0}):
        assert filter_logits(logits, **setting)[0, 1] == -torch.inf


def chi_square(counts, probs, n):
    """Pearson's statistic over the possible cells and its degrees of freedom; impossible cells must be empty."""
    possible = probs > 0
    assert not counts[~possible].any()
    expected = n * probs[possible]
    return ((counts[possible] - expected)**2 / expected).sum().item(), int(possible.sum()) - 1


def critical(degrees):
    """The value that a χ² with so many degrees passes once in 100,000 draws (Wilson & Hilferty 1931)."""
    return degrees * (1 - 2 / (9 * degrees) + 4.265 * math.sqrt(2 / (9 * degrees)))**3


FIRST_WORD = {BOS: {0: 0.02, 1: 0.3, EOS: 0.1, 4: 0.25, 5: 0.05, 6: 0.2, 7: 0.08}}


@pytest.mark.parametrize("setting", [{}, {"temperature": 0.5}, {"temperature": 2.0}, {"top_k": 3}, {"top_p": 0.6},
                                     {"temperature": 1.5, "top_k": 5, "top_p": 0.9}], ids=str)
def test_samples_follow_the_filtered_distribution_and_no_other(setting):
    n, table = 20000, Table(FIRST_WORD)
    drawn = sample(table, torch.zeros(n), max_len=2, generator=torch.Generator().manual_seed(7), **setting)
    counts = torch.bincount(torch.tensor([ids[0] if ids else EOS for ids in drawn.ids]), minlength=8).double()
    hand = filter_by_hand([max(s, -1e4) for s in table.logits[BOS].tolist()], setting.get("temperature", 1.0),
                          setting.get("top_k"), setting.get("top_p"))
    statistic, degrees = chi_square(counts, torch.tensor(hand, dtype=torch.float64), n)
    assert statistic < critical(degrees)
    if setting:                                                         # the test can tell: the plain model is rejected
        plain = table.logits[BOS].double().exp()
        assert chi_square(counts, plain, n)[0] > critical(6)


def test_samples_of_two_words_follow_their_joint_distribution():
    n, story = 20000, Story(3, sharpness=0.7)
    start = beginnings(1, seed=4)
    drawn = sample(story, start.expand(n, -1), max_len=2, generator=torch.Generator().manual_seed(8))
    sentences = [[EOS]] + [[a, b] for a in WORDS for b in range(5)]
    counts = {tuple(s): 0 for s in sentences}
    for ids, ended in zip(drawn.ids, drawn.finished):
        counts[tuple([*ids, EOS] if ended else ids)] += 1
    probs = []
    for first, *second in sentences:
        token, state = story.start(start)
        logits, state = story.step(token, state)
        p = logits.double().softmax(-1)[0, first]
        for word in second:
            p = p * story.step(torch.tensor([first]), state)[0].double().softmax(-1)[0, word]
        probs.append(p)
    assert sum(probs).item() == pytest.approx(1)
    statistic, degrees = chi_square(torch.tensor([counts[tuple(s)] for s in sentences]).double(), torch.stack(probs), n)
    assert degrees == 20 and statistic < critical(degrees)


def test_sampling_repeats_with_its_generator_and_reports_the_models_own_log_probs():
    story, starts = Story(1, sharpness=1.0), beginnings(8)
    runs = [sample(story, starts, max_len=6, temperature=0.8, top_k=4, generator=torch.Generator().manual_seed(s))
            for s in (0, 0, 1)]
    assert runs[0].ids == runs[1].ids != runs[2].ids
    state = torch.get_rng_state()
    sample(story, starts, generator=torch.Generator().manual_seed(0))
    assert torch.equal(state, torch.get_rng_state())                    # the global generator was not touched
    for i, ids in enumerate(runs[0].ids):
        if runs[0].finished[i]:
            assert runs[0].log_probs[i].item() == pytest.approx(story.log_prob(starts[i], ids), abs=1e-5)
    assert sample(story, starts, top_k=1, max_len=6).ids == greedy(story, starts, max_len=6).ids


# --- bad input -------------------------------------------------------------------------------------------------------

STORY, ROWS = Story(0), beginnings(2)
BAD = {
    "temperature": (lambda: filter_logits(ROWS, temperature=0), r"temperature: got 0, expected above 0"),
    "top_k": (lambda: filter_logits(ROWS, top_k=0), r"top_k: got 0, expected at least 1"),
    "top_p low": (lambda: filter_logits(ROWS, top_p=0.0), r"top_p: got 0.0, expected 0 < top_p ≤ 1"),
    "top_p high": (lambda: filter_logits(ROWS, top_p=1.1), r"top_p: got 1.1, expected 0 < top_p ≤ 1"),
    "max_len": (lambda: greedy(STORY, ROWS, max_len=0), r"max_len: got 0, expected at least 1"),
    "max_len of a sample": (lambda: sample(STORY, ROWS, max_len=-1), r"max_len: got -1, expected at least 1"),
    "max_len of a beam": (lambda: beam_search(STORY, ROWS, max_len=0), r"beam_size, max_len: got 4, 0, expected"),
    "beam_size": (lambda: beam_search(STORY, ROWS, beam_size=0), r"beam_size, max_len: got 0, 50, expected"),
    "length_penalty": (lambda: beam_search(STORY, ROWS, length_penalty=-1), r"length_penalty: got -1, expected 0 or more"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_named(case):
    call, message = BAD[case]
    with pytest.raises(ValueError, match=message):
        call()
