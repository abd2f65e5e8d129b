"""Widgets of the notebooks that no library has: which of two responses does the reader prefer?"""

import json
import os
from collections.abc import Sequence
from itertools import takewhile
from pathlib import Path

import anywidget
import traitlets

FOLDER = Path(__file__).parent


class PreferenceWidget(anywidget.AnyWidget):
    """Shows (prompt, first response, second response) one after the other, and keeps which of the two the reader prefers.

    items    list of (prompt, first, second), texts      choices    0 or 1 for each item so far

    By mouse, or keyboard: 1 or ← and 2 or →, u to undo. Each choice is written to `path` at once, beside what is there about other
    items; the same items go on where they were left. ValueError for no items, items of another form, and a file of another kind.

        widget = PreferenceWidget([("Who has the ball?", "Mia.", "Find out yourself!")], "my_preferences.json")
    """

    _esm = FOLDER / "preference.js"
    _css = FOLDER / "preference.css"
    items = traitlets.List().tag(sync=True)
    choices = traitlets.List(traitlets.Int()).tag(sync=True)

    def __init__(self, items: Sequence[tuple[str, str, str]], path: str | Path):
        asked = [tuple(item) for item in items]
        if not asked or any(len(item) != 3 or not all(isinstance(text, str) for text in item) for item in asked):
            raise ValueError(f"items: got {asked[:1] or 'none'}, expected (prompt, first response, second response), all texts")
        self.path, self._kept = Path(path), {}
        if self.path.is_file():
            self._kept = _read(self.path)
        known = takewhile(lambda choice: choice is not None, map(self._kept.get, asked))
        super().__init__(items=[list(item) for item in asked], choices=list(known))
        self.observe(self._keep, "choices")

    @traitlets.validate("choices")
    def _possible(self, proposal: dict) -> list[int]:
        """Refuse what no click gives; the browser's word is not taken for it."""
        choices = proposal["value"]
        if len(choices) > len(self.items) or any(choice not in (0, 1) for choice in choices):
            raise traitlets.TraitError(f"choices: got {choices[:5]} …, expected 0 or 1 for at most {len(self.items)} items")
        return choices

    def _keep(self, change: dict) -> None:
        asked = [tuple(item) for item in self.items]
        self._kept = {item: choice for item, choice in self._kept.items() if item not in asked} | dict(zip(asked, change["new"]))
        rows = [{"prompt": prompt, "first": first, "second": second, "preferred": choice}
                for (prompt, first, second), choice in self._kept.items()]
        draft = self.path.with_name(self.path.name + ".part")
        draft.write_text(json.dumps(rows, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        os.replace(draft, self.path)


def _read(path: Path) -> dict[tuple[str, str, str], int]:
    """The preferences in a file: (prompt, first, second) → 0 or 1. ValueError for a file of another kind."""
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
        kept = {(row["prompt"], row["first"], row["second"]): row["preferred"] for row in rows}
        if not set(kept.values()) <= {0, 1}:
            raise ValueError("a choice that is neither 0 nor 1")
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"path: {path} does not hold preferences ({error!r}); move it away, or name another file") from None
    return kept
