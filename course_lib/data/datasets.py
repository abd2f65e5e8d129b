"""The registry of real data: what each set is, where its files come from, and how they are read.

A new set is one entry in REGISTRY and one parser in parsers.py.
Files are looked for in the folder COURSE_DATA, then in the user's cache (COURSE_CACHE moves it). What is in
neither is downloaded.
"""

import difflib
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from course_lib.data.datafiles import (
    DamagedFile,
    DataError,
    DataFile,
    DatasetNotFound,
    FileStatus,
    cache_folder,
    data_folder,
    inspect,
)
from course_lib.data.download import Transfer, download
from course_lib.data.parsers import parse_manythings, parse_multi30k, parse_paths, parse_text, sentence_split

__all__ = ["REGISTRY", "DamagedFile", "DataError", "DataFile", "Dataset", "DatasetNotFound", "FileStatus",
           "Transfer", "available", "cache_folder", "data_folder", "fetch", "load", "lookup",
           "sentence_split", "verify"]


@dataclass(frozen=True)
class Dataset:
    """One entry: `options` has the choices of each option of `load`, the default first."""

    name: str
    title: str
    files: tuple[DataFile, ...]
    licence: str
    licence_note: str
    source: str
    parser: Callable[..., Any]
    options: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    aliases: Mapping[str, str] = field(default_factory=dict)      # other names of choices

    @property
    def bytes(self) -> int:
        """The size of all files together."""
        return sum(file.bytes for file in self.files)

    def choose(self, chosen: Mapping[str, str]) -> dict[str, str]:
        """The options with defaults filled in; raises ValueError for an unknown option or choice."""
        for option in chosen:
            _known(option, self.options, f"option of {self.name}")
        result = {option: choices[0] for option, choices in self.options.items()}
        for option, value in chosen.items():
            aliases = {alias: name for alias, name in self.aliases.items() if name in self.options[option]}
            result[option] = aliases.get(value) or _known(value, (*self.options[option], *aliases), option)
        if "source" in result and result["source"] == result["target"]:
            raise ValueError(f"source and target: got {result['source']!r} twice, expected two languages "
                             f"of {', '.join(self.options['source'])}")
        return result


def load(name: str, **options: str) -> Any:
    """The parsed data of the set `name`, downloaded at first use.

        load("multi30k", source="de", target="en", split="val")[0]
        →  ("Eine Gruppe von Männern lädt Baumwolle …", "A group of men are loading cotton onto a truck")

    Every set of texts takes the splits "train", "valid" and "test"; "gpt2" and "bert" give
    {file name: path}. Pairs come in the order of the file, which may be sorted by length: shuffle before taking a
    part. Raises ValueError for an unknown name, option or choice,
    DatasetNotFound if the set is absent and cannot be fetched, DamagedFile for a wrong file in COURSE_DATA.
    """
    dataset = lookup(name)
    chosen = dataset.choose(options)
    paths = {path.name: path for path in fetch(name)}
    return dataset.parser(paths, **chosen)


def available(name: str) -> bool:
    """Whether `load(name)` works without a network: every file is there with the right hash."""
    try:
        return all(status.ok for status in verify(name))
    except DataError:
        return False


def verify(name: str) -> list[FileStatus]:
    """Where each file of the set is and what it holds, from size and SHA-256; uses no network."""
    return [inspect(file) for file in lookup(name).files]


def fetch(name: str, transfer: Transfer | None = None) -> list[Path]:
    """Make every file of the set present and checked, downloading what is absent; returns the paths."""
    dataset = lookup(name)
    statuses = verify(name)
    for status in statuses:
        if status.where == "COURSE_DATA" and not status.ok:
            raise DamagedFile(
                f"{name}: {status.difference()}. Copy the file again without any conversion (some tools "
                "change line ends), or unset COURSE_DATA so that the course downloads its own copy.")
    try:
        paths = [status.path if status.ok else download(status.file, transfer) for status in statuses]
    except DatasetNotFound as error:
        statuses = verify(name)
        if missing := [status for status in statuses if not status.ok]:
            raise DatasetNotFound(f"{name}: {error} {_by_hand(name, missing)}") from error
        return [status.path for status in statuses]         # another process was luckier
    if not all(status.ok for status in statuses):
        print(f"{dataset.title}. Licence: {dataset.licence}. {dataset.licence_note} Source: {dataset.source}",
              file=sys.stderr)
    return paths


def _by_hand(name: str, missing: list[FileStatus]) -> str:
    """What to do later with a network, or without one at all."""
    first, rest = missing[0], len(missing) - 1
    place = cache_folder() / first.file.path
    more = f" (and the other {rest} missing files likewise)" if rest else ""
    return (f"The command is: python3 -m course_lib data fetch {name}. If this computer has no network, "
            f"download {first.file.urls[0]} elsewhere and put it at {place}{more}, "
            f"or set COURSE_DATA to a folder that holds {first.file.path}.")


def lookup(name: str) -> Dataset:
    """The registry's entry; raises ValueError with the nearest name for an unknown one."""
    return REGISTRY[_known(name, REGISTRY, "dataset")]


def _known(value: str, choices: Any, what: str) -> str:
    """`value` if it is one of `choices`, else a ValueError that suggests the nearest."""
    if value in choices:
        return value
    plain = {"".join(c for c in choice.lower() if c.isalnum()): choice for choice in choices}
    near = difflib.get_close_matches("".join(c for c in str(value).lower() if c.isalnum()), plain, 1, 0.6)
    hint = f" Did you mean {plain[near[0]]!r}?" if near else ""
    raise ValueError(f"{what}: got {value!r}, expected {'one of ' if len(choices) > 1 else ''}"
                     f"{', '.join(map(repr, choices)) or 'none'}.{hint}")


def _github(repository: str, commit: str, path: str) -> tuple[str, str]:
    """A file at a fixed commit: at GitHub, and at a mirror for networks that block it."""
    return (f"https://raw.githubusercontent.com/{repository}/{commit}/{path}",
            f"https://cdn.jsdelivr.net/gh/{repository}@{commit}/{path}")


def _multi30k_files(**known: tuple[str, int]) -> tuple[DataFile, ...]:
    """{split__language: (SHA-256, bytes)} → the files of task 1, raw text."""
    names = [key.replace("__", ".") + ".gz" for key in known]
    return tuple(DataFile(f"multi30k/{name}", *facts, _github("multi30k/dataset",
                          "a3d2e0d26b56f3846f66a952536ffed4e401d05a", f"data/task1/raw/{name}"))
                 for name, facts in zip(names, known.values(), strict=True))


_TATOEBA = "Attribution: sentences by the contributors of tatoeba.org, paired by www.manythings.org/anki."
_SPLITS = ("train", "valid", "test")

REGISTRY: dict[str, Dataset] = {dataset.name: dataset for dataset in (
    Dataset(
        name="multi30k", title="Multi30k, German and English image captions",
        files=_multi30k_files(
            train__en=("d79cfa999dd4c51d2cb42499b6796d5a882c3a8a961923c25a898c90f8bbd56f", 568929),
            train__de=("726e39b2fa9eb9ffb6dc763fb35a179f80fae06ffc5d28b6ace5faa883de28a6", 637044),
            val__en=("14f7d25ddd868909a9213e361768460edcacdd6ab9d1e77b92560dc10c10dc28", 21650),
            val__de=("f0cba2f995189cf5770f29a8a9a537a3ad3f51657ad873405082ff6863a5e75a", 24681),
            test_2016_flickr__en=("611d361c6334bc7246101d48097c13cf5c4413c5befc793cc629934359d532d9", 21077),
            test_2016_flickr__de=("9204244e408ccb38d2a55cfcd344df15005fc42a07a6e55ca6c52b6ababb8cc8", 22890)),
        licence="research and education only",
        licence_note="No licence is stated for the captions; they derive from Flickr30k, which is given to "
                     "researchers and educators for non-commercial use. Do not pass the files on.",
        source="Elliott, Frank, Sima'an, Specia (2016), Multi30K: Multilingual English-German Image "
               "Descriptions; github.com/multi30k/dataset, task 1, raw.",
        parser=parse_multi30k,
        options={"source": ("de", "en"), "target": ("en", "de"),
                 "split": ("train", "val", "test_2016_flickr")},
        aliases={"valid": "val", "test": "test_2016_flickr"}),
    Dataset(
        name="kor-eng", title="Korean and English sentence pairs (Tatoeba, release 2020-01-11)",
        files=(DataFile("manythings/kor-eng.zip",
                        "a89231b2e5216c1f8052335cd9d29ceba9d49989eeb18372a4313eb3f85e9dd9", 130036,
                        _github("virsagothethird/Korean-English-translator",
                                "4cdd6fb5975f98bf2bc5253c0537fdf30b44efc8", "data/kor-eng.zip")),),
        licence="CC BY 2.0 FR", licence_note=_TATOEBA, source="www.manythings.org/anki, kor-eng.zip.",
        parser=parse_manythings,
        options={"source": ("ko", "en"), "target": ("en", "ko"), "split": _SPLITS}),
    Dataset(
        name="fra-eng", title="French and English sentence pairs (Tatoeba, release 2017-09-29)",
        files=(DataFile("manythings/fra-eng.zip",
                        "16c4f7d0df9e7c5e6c54cdb0447f3f4a18a55052ff5e2e0b27dd4a06c0e49d04", 2951390,
                        _github("genimind/seq2seq", "4f3f8eb0adde54fcc8b89394336b002e7961244c",
                                "fra-eng.zip")),),
        licence="CC BY 2.0 FR", licence_note=_TATOEBA, source="www.manythings.org/anki, fra-eng.zip.",
        parser=parse_manythings,
        options={"source": ("fr", "en"), "target": ("en", "fr"), "split": _SPLITS}),
    Dataset(
        name="tinyshakespeare", title="Tiny Shakespeare, 40,000 lines of the plays",
        files=(DataFile("tinyshakespeare/input.txt",
                        "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed", 1115394,
                        _github("karpathy/char-rnn", "6f9487a6fe5b420b7ca9afb0d7c078e37c1d1b4e",
                                "data/tinyshakespeare/input.txt")),),
        licence="public domain (file from a repository under MIT)", licence_note="Free to use.",
        source="Karpathy (2015), github.com/karpathy/char-rnn.",
        parser=parse_text,
        options={"split": ("all", *_SPLITS)}),
    Dataset(
        name="gpt2", title="GPT-2's tokenizer: merges and vocabulary",
        files=tuple(DataFile(f"gpt2/{name}", *facts, _github(
            "rasbt/LLMs-from-scratch", "28c65cdfbc3338e2e040016eea4b7fdf556e4d57",
            f"ch02/02_bonus_bytepair-encoder/gpt2_model/{name}")) for name, *facts in (
                ("vocab.bpe", "1ce1664773c50f3e0cc8842619a93edc4624525b728b188a9e0be33b7726adc5", 456318),
                ("encoder.json", "196139668be63f3b5d6574427317ae82f612a97c5d1cdaf36ed2256dbf636783", 1042301))),
        licence="Modified MIT", licence_note="Free to use.",
        source="Radford et al. (2019), github.com/openai/gpt-2.",
        parser=parse_paths),
    Dataset(
        name="bert", title="BERT's vocabulary of word pieces, English, lower case",
        files=(DataFile("bert/google_uncased_en_vocab.txt",
                        "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3", 231508,
                        _github("dbiir/UER-py", "5743050cc41f0f21986c9f938db5ac1726052629",
                                "models/google_uncased_en_vocab.txt")),),
        licence="Apache-2.0", licence_note="Free to use.",
        source="Devlin et al. (2019), github.com/google-research/bert.",
        parser=parse_paths),
)}
