"""The widget that asks which of two responses is better: what it keeps, and what it refuses."""

import json

import pytest
import traitlets

from course_lib.widgets import PreferenceWidget

ITEMS = [("Who?", "Mia.", "Tom."), ("Where?", "Here.", "There."), ("Why?", "So.", "<b>No</b>")]


def test_every_choice_is_on_disk_at_once_and_another_widget_goes_on_from_there(tmp_path):
    path = tmp_path / "kept.json"
    widget = PreferenceWidget(ITEMS, path)
    widget.choices = [1]
    assert json.loads(path.read_text())[0] == {"prompt": "Who?", "first": "Mia.", "second": "Tom.", "preferred": 1}
    widget.choices = [1, 0]
    assert PreferenceWidget(ITEMS, path).choices == [1, 0]
    widget.choices = [1]                                                                # undone
    assert PreferenceWidget(ITEMS, path).choices == [1]
    assert not list(tmp_path.glob("*.part"))


def test_preferences_about_other_items_stay_in_the_file(tmp_path):
    path = tmp_path / "kept.json"
    PreferenceWidget(ITEMS[:1], path).choices = [0]
    other = PreferenceWidget(ITEMS[1:], path)
    assert other.choices == []
    other.choices = [1, 1]
    assert PreferenceWidget(ITEMS, path).choices == [0, 1, 1]


@pytest.mark.parametrize("choices", [[2], [0, 1, 0, 1], [-1]])
def test_what_no_click_gives_is_refused_and_changes_nothing(tmp_path, choices):
    widget = PreferenceWidget(ITEMS, tmp_path / "kept.json")
    widget.choices = [1]
    with pytest.raises(traitlets.TraitError):
        widget.choices = choices
    assert widget.choices == [1] == [row["preferred"] for row in json.loads((tmp_path / "kept.json").read_text())]


@pytest.mark.parametrize("items", [[], [("a", "b")], [("a", "b", 3)]])
def test_items_of_another_form_are_refused(tmp_path, items):
    with pytest.raises(ValueError, match="items"):
        PreferenceWidget(items, tmp_path / "kept.json")


@pytest.mark.parametrize("text", ["{", "[1]", '{"a": 1}', '[{"prompt": "Who?", "first": "Mia.", "second": "Tom.", "preferred": 7}]'])
def test_a_file_of_another_kind_is_refused_and_left_alone(tmp_path, text):
    path = tmp_path / "kept.json"
    path.write_text(text)
    with pytest.raises(ValueError, match="path"):
        PreferenceWidget(ITEMS, path)
    assert path.read_text() == text
