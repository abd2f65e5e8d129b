"""A BERT of Tinytown's stories: the corpus, the model and its measures, which chapters 07 and 08 share."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from course_lib.checkpoints import load_checkpoint, save_checkpoint
from course_lib.data.datafiles import cache_folder
from course_lib.data.masking import Document, MaskedBatches
from course_lib.data.tinytown import Story, stories
from course_lib.losses import pre_training_loss
from course_lib.models.bert import BERT, BERTConfig, BERTForPreTraining
from course_lib.recipes.stories import SETTINGS
from course_lib.runtime import Distributed, pick_device, seed_everything
from course_lib.tokenizers import WordPieceTokenizer
from course_lib.training import History, TrainingConfig, train


@dataclass(frozen=True)
class Corpus:
    """A tokenizer, training stories as lists of sentences of ids, and held-out stories."""

    tokenizer: WordPieceTokenizer
    train: list[Document]
    valid: list[Story]

    def documents(self, told: Iterable[Story]) -> list[Document]:
        """Stories → their sentences as ids, without special tokens."""
        return [[self.tokenizer.encode(" ".join(words)) for words in story.en] for story in told]


def prepare(n_train: int = 30_000, n_valid: int = 600, seed: int = 0, valid_seed: int = 1) -> Corpus:
    """Draw training and held-out stories, and learn word pieces from the training ones: 300 are enough for every word whole."""
    told = stories(n_train, seed, settings=SETTINGS)
    corpus = Corpus(WordPieceTokenizer.train((story.text for story in told), 300), [], stories(n_valid, valid_seed, "valid", SETTINGS))
    corpus.train.extend(corpus.documents(told))
    return corpus


def build(vocab_size: int, seed: int = 0, **parts: Any) -> BERTForPreTraining:
    """A small BERT with its two heads; `parts` are fields of BERTConfig."""
    seed_everything(seed)
    sizes = {"d_model": 96, "n_heads": 4, "n_layers": 4, "max_len": 128, "dropout": 0.0} | parts
    return BERTForPreTraining(BERT(BERTConfig(vocab_size, **sizes)))


def fit(model: BERTForPreTraining, corpus: Corpus, steps: int, seed: int = 0, batch_size: int = 32, lr: float = 3e-3,
        negative: str = "swapped", **training: Any) -> History:
    """Pre-train on the best device present and bring the model back; `training` are fields or arguments of `train`."""
    fields = {name: training.pop(name) for name in tuple(training) if name in TrainingConfig.__dataclass_fields__}
    config = TrainingConfig(**{"steps": steps, "lr": lr, "final_lr": lr / 10, "warmup_steps": min(100, steps),
                               "weight_decay": 0.1} | fields)
    batches = MaskedBatches(corpus.train, batch_size, corpus.tokenizer, negative=negative, seed=seed)
    history = train(model, batches, pre_training_loss, config, context=Distributed(device=pick_device()), **training)
    model.to("cpu")
    return history


def save(model: BERTForPreTraining, tokenizer: WordPieceTokenizer, path: str | Path | None = None) -> Path:
    """Keep a model with its vocabulary for chapter 08, by default in the user's cache; return where."""
    path = cache_folder() / "tinybert.safetensors" if path is None else Path(path)
    save_checkpoint(path, model, config=asdict(model.bert.config), extra={"vocabulary": tokenizer.vocabulary})
    return path


def load(path: str | Path | None = None) -> tuple[BERTForPreTraining, WordPieceTokenizer]:
    """What `save` kept. FileNotFoundError where chapter 07 has not run yet; ValueError for a damaged file."""
    path = cache_folder() / "tinybert.safetensors" if path is None else Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no model at {path}: run chapter 07, which trains and keeps it")
    saved = load_checkpoint(path)
    try:
        model, tokenizer = BERTForPreTraining(BERT(BERTConfig(**saved.config))), WordPieceTokenizer(saved.extra["vocabulary"])
    except (TypeError, KeyError) as error:
        raise ValueError(f"{path}: holds another kind of model ({error}), expected what chapter 07 keeps") from None
    load_checkpoint(path, model)
    return model.eval(), tokenizer
