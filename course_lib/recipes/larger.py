"""A small aligned model beside a model several times its size that is not: what size buys, and what it does not.

`python3 -m course_lib.recipes.larger` trains the larger storyteller, has it imitate the crowd, lets the small assistant practise, and keeps
the comparisons with the course. About twenty minutes on one core.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch

from course_lib.alignment.chat import Response
from course_lib.data.tinytown.instructions import Instruction
from course_lib.data.tinytown.judge import judge
from course_lib.data.tinytown.labeller import Labeller
from course_lib.data.tinytown.realise import realise
from course_lib.generation import sample
from course_lib.models.gpt import GPT
from course_lib.recipes import assistant, preferences, stories
from course_lib.recipes.results import keep
from course_lib.tokenizers import WordTokenizer

SIZES: dict[str, int] = {"d_model": 160, "n_heads": 5, "n_layers": 5}
STEPS, LR, N_TEST = 2000, 2e-3, 600


def in_its_own_way(model: GPT, tokenizer: WordTokenizer, asked: Sequence[Instruction]) -> list[Response]:
    """What a storyteller answers when it need not know the form: of all sentences that name a person, or a place, the most probable.

    For questions that ask who has something or where somebody is; the sentence follows the story as its next line.
    """
    questions = []
    for instruction in asked:
        full = tuple(realise(instruction.question.full).en)
        story = tuple(tokenizer.split(instruction.context))
        if instruction.question.kind == "who has":
            options = tuple((name, *full[1:]) for name in stories.NAMES)
        else:
            options = tuple((*full[:-4], "at" if place == "market" else "in", "the", place, ".") for place in stories.TOWN)
        questions.append(stories.Cloze(instruction.question.kind, story, options, 0))
    return [Response(tokenizer.join(cloze.options[best]), True)
            for cloze, best in zip(questions, stories.choose(model, tokenizer, questions))]


def can_be_completed(asked: Instruction) -> bool:
    """Whether a question can be put to a storyteller as a sentence to complete: who has a thing, or where somebody or something is."""
    return asked.question is not None and (asked.question.kind == "who has" or bool(stories.told_place(asked.question)))


def measure(seed: int = 0) -> dict[str, Any]:
    """Shares that are true, and win rates with their intervals, of the small aligned model, the small assistant and the larger ones."""
    corpus = stories.prepare()
    large = stories.build(corpus, seed, **SIZES)
    history = stories.fit(large, corpus, STEPS, lr=LR)
    print(f"larger storyteller: loss {history.loss[-1]:.3f} after {history.seconds[-1]:.0f} s", flush=True)
    small_base, words = assistant.base()
    small, tokenizer = assistant.imitate(small_base, words, seed=200)
    large_sft, large_tokenizer = assistant.imitate(large.eval(), corpus.tokenizer, seed=200)
    end = assistant.TEMPLATE.marks(tokenizer)["end"]
    pairs = preferences.compare(preferences.two_answers(small, tokenizer, assistant.ask(2000, seed=300)), Labeller(0.1))
    reward, _ = preferences.fit_reward(small, preferences.as_ids(tokenizer, pairs))
    batches = preferences.prompt_batches(tokenizer, assistant.ask(3000, seed=500), 64, 30)
    aligned, _ = preferences.by_ppo(small, reward.score, batches, end)

    test = assistant.ask(N_TEST, "test", 400)
    drawn = {name: assistant.answer(model, vocabulary, test, partial(sample, generator=torch.Generator().manual_seed(k)))
             for k, (name, model, vocabulary) in enumerate((("small, aligned", aligned, tokenizer), ("small, imitating", small, tokenizer),
                                                            ("larger, imitating", large_sft, large_tokenizer)))}
    grown, grown_tokenizer, _ = assistant.prepare(large, corpus.tokenizer, test, [asked.reference for asked in test])
    drawn["larger storyteller, given the template"] = assistant.answer(grown, grown_tokenizer, test)
    found = {name: {"true": assistant.report(test, said).true, "wins_of_aligned": preferences.win_rate(test, drawn["small, aligned"], said)}
             for name, said in drawn.items()}
    some = [asked for asked in assistant.ask(4 * N_TEST, "test", 401) if can_be_completed(asked)]
    ways = {"small, aligned, asked": assistant.answer(aligned, tokenizer, some),
            "small storyteller, completing": in_its_own_way(small_base, words, some),
            "larger storyteller, completing": in_its_own_way(large, corpus.tokenizer, some)}
    facts = {name: sum(judge(asked, said.text).true for asked, said in zip(some, answers)) / len(some) for name, answers in ways.items()}
    sizes = {"small": sum(p.numel() for p in small_base.parameters()), "larger": sum(p.numel() for p in large.parameters())}
    return {"parameters": sizes, "answers": found, "facts": facts, "questions_of_fact": len(some)}


if __name__ == "__main__":
    results = measure()
    print(results)
    keep("larger_base", torch.device("cpu"), {"sizes": SIZES, "steps": STEPS, "lr": LR, "test": N_TEST}, **results)
