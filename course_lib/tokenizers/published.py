"""Byte-pair vocabularies as others publish them: GPT-2's two files, and the tokenizer.json of Hugging Face `tokenizers`.

Each reader gives what BPETokenizer takes: vocabulary (id → bytes, or str for a special token), merges as pairs of ids, pattern.
"""

import json
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Any

import regex

from course_lib.tokenizers.alphabet import to_bytes
from course_lib.tokenizers.base import read_json
from course_lib.tokenizers.merging import Pair
from course_lib.tokenizers.splitting import GPT2_PATTERN

Vocabulary = list[bytes | str]


def assemble(tokens: Sequence[str], merges: Iterable[str | list[str]], special: Collection[int]) -> tuple[Vocabulary, list[Pair]]:
    """Tokens in GPT-2's letters in the order of their ids, merges "a b" or ["a", "b"], ids of special tokens → vocabulary, merges.
    Raises ValueError for a wrong letter, and for a merge that is none or names an unknown token.
    """
    id_of = {token: i for i, token in enumerate(tokens) if i not in special}
    pairs = []
    for entry in merges:
        parts = entry.split(" ") if isinstance(entry, str) else entry
        if not isinstance(parts, list) or len(parts) != 2 or not all(isinstance(part, str) and part in id_of for part in parts):
            raise ValueError(f"merges: got {entry!r}, expected two tokens of the vocabulary")
        pairs.append((id_of[parts[0]], id_of[parts[1]]))
    return [token if i in special else to_bytes(token) for i, token in enumerate(tokens)], pairs


def read_saved(content: dict[str, Any]) -> tuple[Vocabulary, list[Pair], str]:
    """What BPETokenizer.save wrote."""
    tokens, merges, specials, pattern = (content.get(key) for key in ("vocabulary", "merges", "specials", "pattern"))
    if not isinstance(tokens, list) or not isinstance(merges, list) or not all(isinstance(token, str) for token in tokens):
        raise ValueError("expected lists 'vocabulary' and 'merges' of strings")
    if not isinstance(specials, dict) or any(tokens[i:i + 1] != [name] for name, i in specials.items() if _is_id(i)) \
            or not all(map(_is_id, specials.values())):
        raise ValueError("expected 'specials' with the ids of special tokens in 'vocabulary'")
    return *assemble(tokens, merges, set(specials.values())), pattern


def read_gpt2(merges: str | Path, vocabulary: str | Path) -> tuple[Vocabulary, list[Pair], str]:
    """vocab.bpe (a line "#version", then a merge in each) and encoder.json (token → id; what no merge makes is special)."""
    lines = Path(merges).read_text(encoding="utf-8").removesuffix("\n").split("\n")
    lines = lines[lines[0].startswith("#version"):]
    tokens = _by_id(read_json(vocabulary, "vocabulary"))
    ordinary = {line.replace(" ", "") for line in lines}
    special = {i for i, token in enumerate(tokens) if len(token) > 1 and token not in ordinary}
    return *assemble(tokens, lines, special), GPT2_PATTERN


def read_huggingface(path: str | Path) -> tuple[Vocabulary, list[Pair], str]:
    """A tokenizer.json whose model is byte-level BPE. What follows the model, as a template of special tokens, is not read:
    ids are those of encode(text, add_special_tokens=False), special tokens in the text apart.
    """
    content = read_json(path, "tokenizer.json")
    model, added = _entry(content, "model", dict), _entry(content, "added_tokens", list)
    _expect(model, "model", type=("BPE", None), dropout=(None, 0), continuing_subword_prefix=(None, ""),
            end_of_word_suffix=(None, ""), byte_fallback=(False, None), ignore_merges=(False, None))
    _expect(content, "tokenizer", normalizer=(None,), truncation=(None,), padding=(None,))
    _expect(_entry(content, "decoder", dict), "decoder", type=("ByteLevel", None))
    tokens = dict(_entry(model, "vocab", dict))
    for token in added:
        if not isinstance(token, dict) or not isinstance(token.get("content"), str):
            raise ValueError(f"added_tokens: got {token!r}, expected an object with its 'content'")
        _expect(token, f"added token {token['content']!r}", special=(True,), single_word=(False, None), lstrip=(False, None),
                rstrip=(False, None))
        tokens[token["content"]] = token.get("id")
    tokens = _by_id(tokens)
    names = {token["content"] for token in added}
    special = {i for i, token in enumerate(tokens) if token in names}
    return *assemble(tokens, _entry(model, "merges", list), special), _pattern(_entry(content, "pre_tokenizer", dict))


def _entry(found: dict[str, Any], key: str, kind: type) -> Any:
    """An entry that is an object or a list, empty where it is null or absent; ValueError for anything else."""
    value = found.get(key)
    if value is not None and not isinstance(value, kind):
        raise ValueError(f"{key}: got {value!r:.80}, expected {'a list' if kind is list else 'an object'}")
    return kind() if value is None else value


def _pattern(pre_tokenizer: dict[str, Any]) -> str:
    """The one pattern of a ByteLevel, or of a Split with a ByteLevel behind it."""
    *splits, last = _entry(pre_tokenizer, "pretokenizers", list) or [pre_tokenizer]
    if len(splits) > 1 or not all(isinstance(step, dict) for step in (*splits, last)):
        raise ValueError(f"pre_tokenizer: got {len(splits)} steps before the last, expected one Split at most")
    _expect(last, "pre_tokenizer", type=("ByteLevel",), add_prefix_space=(False,), use_regex=(False,) if splits else (True, None))
    if not splits:
        return GPT2_PATTERN
    _expect(splits[0], "pre_tokenizer", type=("Split",), behavior=("Isolated",), invert=(False, None))
    match splits[0].get("pattern"):
        case {"Regex": str(pattern)}:
            return pattern
        case {"String": str(text)}:
            return regex.escape(text)
    raise ValueError("pre_tokenizer: expected a pattern 'Regex' or 'String'")


def _expect(found: dict[str, Any], where: str, **allowed: tuple) -> None:
    """ValueError for the first entry with a value that would change ids in a way this library does not know."""
    for key, values in allowed.items():
        if not any(found.get(key) is value or (value is not None and found.get(key) == value) for value in values):
            raise ValueError(f"{where}: got {key} = {json.dumps(found.get(key)):.80}, "
                             f"expected {' or '.join(map(json.dumps, values))}")


def _is_id(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _by_id(id_of: dict[str, int]) -> list[str]:
    """Tokens in the order of their ids, which must be 0, 1, 2 …"""
    tokens = sorted(id_of, key=lambda token: id_of[token] if _is_id(id_of[token]) else -1)
    if not tokens or [id_of[token] for token in tokens] != list(range(len(tokens))):
        raise ValueError(f"vocabulary: got {len(tokens)} tokens, expected ids 0 … {len(tokens) - 1}, each once")
    return tokens
