"""The registry of real data: what each set is, where its files come from, and how they are read.

A new set is one entry in REGISTRY and one parser in parsers.py, labelled_parsers.py or chat_parsers.py.
"""

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from course_lib.data.chat_parsers import parse_dialogues, parse_instructions, parse_preferences, parse_seed_tasks
from course_lib.data.datafiles import DataFile
from course_lib.data.labelled_parsers import parse_snli, parse_squad, parse_tagged, parse_told
from course_lib.data.parsers import parse_manythings, parse_multi30k, parse_paths, parse_text


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
            known(option, self.options, f"option of {self.name}")
        result = {option: choices[0] for option, choices in self.options.items()}
        for option, value in chosen.items():
            aliases = {alias: name for alias, name in self.aliases.items() if name in self.options[option]}
            result[option] = aliases.get(value) or known(value, (*self.options[option], *aliases), option)
        if "source" in result and result["source"] == result["target"]:
            raise ValueError(f"source and target: got {result['source']!r} twice, expected two languages "
                             f"of {', '.join(self.options['source'])}")
        return result


def known(value: str, choices: Any, what: str) -> str:
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


def _snli_files(**known: tuple[str, int]) -> tuple[DataFile, ...]:
    """{split: (SHA-256, bytes)} → the normalised files."""
    return tuple(DataFile(f"snli/{name}.txt", *facts, _github("chenxingphh/rmib", "80bf2b2ac7b63a51584adc84cdb17da47ba296e4",
                          f"data/snli/{name}.txt")) for name, facts in known.items())


_TATOEBA = "Attribution: sentences by the contributors of tatoeba.org, paired by www.manythings.org/anki."
_SPLITS = ("train", "valid", "test")
_RASBT = ("rasbt/LLMs-from-scratch", "28c65cdfbc3338e2e040016eea4b7fdf556e4d57")

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
            *_RASBT, f"ch02/02_bonus_bytepair-encoder/gpt2_model/{name}")) for name, *facts in (
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
    Dataset(
        name="snli", title="SNLI, sentence pairs: does the second follow from the first? (the sets for development and testing)",
        files=_snli_files(
            dev=("b947834bcc1e9f5639436c72750f0d31610b50450e956eadb7f77360733671e5", 1103875),
            test=("a92dbfbcf0647f7cba053be791ff6d8f52a53d75bcfaf26fec742e93d853920b", 1097377)),
        licence="CC BY-SA 4.0", licence_note="Attribution, and share alike: Bowman et al. (2015), captions from Flickr30k.",
        source="nlp.stanford.edu/projects/snli, normalised in github.com/chenxingphh/rmib.",
        parser=parse_snli,
        options={"split": _SPLITS}),
    Dataset(
        name="sentiment-sentences", title="Sentences from reviews of films, goods and restaurants, positive or negative",
        files=tuple(DataFile(f"sentiment-sentences/{name}_labelled.txt", *facts, _github(
            "rmediero/sentiment-labelled-sentences", "40aabbbccbd0e7609dd53f7903dcd5b924838c2b",
            f"data/{name}_labelled.txt")) for name, *facts in (
                ("amazon_cells", "47003fc0a0d4840b00e96e715b6189bad09e7443a3da41c4cbe12ffc79f86ae3", 58226),
                ("imdb", "aef2e49e3da25714d61175e3a6e68eeef74a20a2f914318dc3be9947ea86512d", 85285),
                ("yelp", "c76468b7b5c6e56a0804d728345c5f84aa2142ddb214420f61cc9cfd4c00d2ea", 61320))),
        licence="attribution", licence_note="Cite Kotzias et al. (2015), as their readme asks.",
        source="Kotzias et al. (2015), From Group to Individual Labels using Deep Features.",
        parser=parse_told,
        options={"split": _SPLITS}),
    Dataset(
        name="xquad", title="XQuAD, English: questions and where their answers stand, a part of SQuAD's set for development",
        files=(DataFile("xquad/xquad.en.json",
                        "e4c57d1c9143aaa1c5d265ba5987a65f4e69528d2a98f29d6e75019b10344f29", 609383,
                        _github("google-deepmind/xquad", "7d30520c717524000f0d9d2f9c10a069acd9d285", "xquad.en.json")),),
        licence="CC BY-SA 4.0", licence_note="Attribution, and share alike: Artetxe et al. (2020), Rajpurkar et al. (2016).",
        source="github.com/google-deepmind/xquad.",
        parser=parse_squad,
        options={"split": _SPLITS}),
    Dataset(
        name="wnut17", title="WNUT-17: people, places, products and so on in messages, most of them rare",
        files=tuple(DataFile(f"wnut17/{name}", *facts, _github(
            "leondz/emerging_entities_17", "e52a2d2a71ac1a051ca2d532eef28653c5c02603", name)) for name, *facts in (
                ("wnut17train.conll", "731820e13f71af324c6b55a1575ec2ce59fbaa2a0806f8f0400b98d56cd6a7a5", 493781),
                ("emerging.dev.conll", "e053b752b8155113ca66e7db08af5f2f5f43ab993694e4774f1ec5bad42312d8", 114749),
                ("emerging.test.annotated", "2aa79b764e56ec9264a1b30fdd9b70195bd00ff400b62edd8f399d5f13c178f0", 192425))),
        licence="CC BY 4.0", licence_note="Attribution: Derczynski et al. (2017).",
        source="github.com/leondz/emerging_entities_17.",
        parser=parse_tagged,
        options={"split": _SPLITS}),
    Dataset(
        name="instruction-1100", title="1,100 instructions with responses",
        files=(DataFile("instruction-1100/instruction-data.json",
                        "7e09a9af353722ca15c18bc580f093f9c39d3178335a75177319cb1e1d163944", 203524,
                        _github(*_RASBT, "ch07/01_main-chapter-code/instruction-data.json")),),
        licence="Apache-2.0", licence_note="Free to use.",
        source="Raschka (2024), github.com/rasbt/LLMs-from-scratch.",
        parser=parse_instructions,
        options={"split": _SPLITS}),
    Dataset(
        name="self-instruct", title="175 tasks written by people, from which Self-Instruct and Alpaca grew",
        files=(DataFile("self-instruct/seed_tasks.jsonl",
                        "7779004fa198fdf27cf70a159363879d8a26c53329e11b436af17b3941875f48", 110934,
                        _github("yizhongw/self-instruct", "0b26ccaa415992100fa32df62d41b994cf928e23", "data/seed_tasks.jsonl")),),
        licence="Apache-2.0", licence_note="Free to use.",
        source="Wang et al. (2023), Self-Instruct; github.com/yizhongw/self-instruct.",
        parser=parse_seed_tasks,
        options={"split": _SPLITS}),
    Dataset(
        name="alpaca-demo", title="Alpaca, a sample: 999 instructions with responses written by a model",
        files=(DataFile("alpaca-demo/alpaca_en_demo.json",
                        "bcc37c64db1a739a0789a1b81f251146fcf4459f903474bc9e3c21bbb5628318", 859893,
                        _github("hiyouga/LlamaFactory", "ff6d4d12eeb035d6ce06805a5733dd7b29f2ac30", "data/alpaca_en_demo.json")),),
        licence="CC BY-NC 4.0", licence_note="Non-commercial use only, says Alpaca's readme. Do not pass the file on.",
        source="Taori et al. (2023), github.com/tatsu-lab/stanford_alpaca; the sample from github.com/hiyouga/LlamaFactory.",
        parser=parse_instructions,
        options={"split": _SPLITS}),
    Dataset(
        name="preference-1100", title="The 1,100 instructions, each with a polite response and one that is less so",
        files=(DataFile("preference-1100/instruction-data-with-preference.json",
                        "305315abf14f65fa42c01a0877572f832606571c2a7d49f152ac1d758b16756e", 386968,
                        _github(*_RASBT, "ch07/04_preference-tuning-with-dpo/instruction-data-with-preference.json")),),
        licence="Apache-2.0", licence_note="Free to use; a model, Llama 3.1, wrote the responses anew.",
        source="Raschka (2024), github.com/rasbt/LLMs-from-scratch.",
        parser=parse_preferences,
        options={"split": _SPLITS}),
    Dataset(
        name="hh-rlhf", title="HH-RLHF: dialogues with a helper, and which of two responses people preferred (helpful-base, test)",
        files=(DataFile("hh-rlhf/helpful-base-test.jsonl.gz",
                        "8be3fc1a13b27901631696f2be6f184c799f1baeaf145f53ac5db24960adc37b", 875191,
                        _github("DaehanKim/EasyRLHF", "45eccb72ddb8c18aa52dc2a184516380e06582fe", "data/helpful-base/test.jsonl.gz")),),
        licence="MIT", licence_note="Free to use. Some content may offend, its publisher warns.",
        source="Bai et al. (2022), Training a Helpful and Harmless Assistant; github.com/anthropics/hh-rlhf.",
        parser=parse_dialogues,
        options={"split": _SPLITS}),
)}
