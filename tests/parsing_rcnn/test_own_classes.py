"""Part classes of one's own: read, written, refused in a sentence, and kept in archives and configurations."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from parsing_rcnn.card import fault
from parsing_rcnn.codecs import json as people_json
from parsing_rcnn.codecs import npz
from parsing_rcnn.ensembles import identity, others, whose
from parsing_rcnn.own_classes import MOST_CLASSES, read_taxonomy, write_taxonomy
from parsing_rcnn.people import People
from parsing_rcnn.taxonomy import CIHP, MHP, Taxonomy

WORK: dict[str, Any] = {
    "name": "workwear",
    "classes": ["Background", "Helmet", "Vest", "Left glove", "Right glove"],
    "colours": {"Vest": "#ff8800"},
}


def somebody(taxonomy: Taxonomy) -> People:
    """One person who is all of the last class, in a box of the whole picture."""
    parts = np.full((1, 4, 4), len(taxonomy) - 1, np.uint8)
    sure = np.ones((1, len(taxonomy)), np.float32)
    box, score = np.array([[0, 0, 8, 8]], np.float32), np.ones(1, np.float32)
    return People(box, score, (8, 8), parts=parts, part_scores=sure, taxonomy=taxonomy)


def test_names_colours_and_pairs() -> None:
    work = read_taxonomy(WORK)
    assert (work.name, work.classes) == ("workwear", tuple(WORK["classes"]))
    # MHP's first colours, which are far from each other, but for what has its own
    assert work.palette.tolist() == [[0, 0, 0], [0, 255, 0], [255, 136, 0], [0, 0, 255], [255, 0, 0]]
    assert work.mirror == ((3, 4),)
    assert work.flip_table().tolist() == [0, 1, 2, 4, 3]
    assert read_taxonomy({**WORK, "pairs": []}).mirror == ()
    alike = ["Background", "arm_RIGHT", "arm_left", "Left", "right"]
    assert read_taxonomy({"name": "alike", "classes": alike}).mirror == ((2, 1), (3, 4))
    assert read_taxonomy({**WORK, "pairs": [["Helmet", "Vest"]]}).mirror == ((1, 2),)


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("LeftGlove", "RightGlove"),
        ("leftGlove", "rightGlove"),
        ("upperLeftArm", "upperRightArm"),
        ("leftarm", "rightarm"),
        ("armleft", "armright"),
        ("LEFT ARM", "RIGHT ARM"),
        ("left arm (2)", "Right arm (2)"),
        ("L arm", "R arm"),
        ("arm.l", "arm.r"),
        ("LArm", "RArm"),
        ("armL", "armR"),
    ],
)
def test_sides_are_found_however_they_are_written(left: str, right: str) -> None:
    for classes, pair in (([left, right, "Bright vest", "Size L"], (1, 2)), (["Vest", right, left], (3, 2))):
        assert read_taxonomy({"name": "sides", "classes": ["Background", *classes]}).mirror == (pair,)


@pytest.mark.parametrize("label", ["Left glove", "glove_right", "LeftGlove", "armRight", "leftarm", "armleft"])
def test_a_side_without_the_other_is_refused(label: str) -> None:
    own = {"name": "sides", "classes": ["Background", "Glove", label]}
    with pytest.raises(ValueError, match=rf"^classes: '{label}' is of one side.* pairs: \[\] if none are"):
        read_taxonomy(own)
    assert read_taxonomy({**own, "pairs": []}).mirror == ()
    assert read_taxonomy({**own, "pairs": [[label, "Glove"]]}).mirror == ((2, 1),)


def test_a_class_of_both_sides_is_its_own_mirror() -> None:
    own = {"name": "sides", "classes": ["Background", "Left and right glove", "Upright", "Left", "Right"]}
    assert read_taxonomy(own).mirror == ((3, 4),)


def test_a_class_is_in_one_pair() -> None:
    own = {"name": "sides", "classes": ["Background", "L left", "L right", "R right", "R left"]}
    assert read_taxonomy(own).mirror == ((1, 2), (4, 3))


@pytest.mark.parametrize("taxonomy", [CIHP, MHP, read_taxonomy(WORK), read_taxonomy({**WORK, "pairs": []})])
def test_what_is_written_is_read_again(taxonomy: Taxonomy) -> None:
    again = read_taxonomy(json.loads(json.dumps(write_taxonomy(taxonomy))))
    assert again == taxonomy
    assert hash(again) == hash(taxonomy)
    assert (again is taxonomy) == (taxonomy in (CIHP, MHP))


def test_one_of_a_built_in_name_is_told_from_it_by_all_that_it_has() -> None:
    work = read_taxonomy(WORK)
    other = read_taxonomy({**WORK, "colours": {"Vest": "#ff8801"}})
    assert work != other
    assert work != read_taxonomy({**WORK, "pairs": []})
    assert work != "workwear"


def test_as_many_classes_as_there_may_be_have_different_colours() -> None:
    classes = ["background", *(f"part {k}" for k in range(1, MOST_CLASSES))]
    many = read_taxonomy({"name": "many", "classes": classes, "colours": {"part 1": "#ff0000"}})
    assert len(np.unique(many.palette, axis=0)) == MOST_CLASSES


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ("pascal", "'pascal' is none of cihp, mhp, and no classes of your own"),
        (7, "7 is none of cihp, mhp"),
        ({**WORK, "colors": {}}, "colors: there is no such key; there are name, classes, colours, pairs"),
        ({**WORK, "name": "cihp"}, "name cihp: this is a built-in taxonomy; take another name"),
        ({**WORK, "name": "CIHP"}, "name CIHP: this is a built-in taxonomy; take another name"),
        *(
            ({**WORK, "name": name}, rf"name {name}: files {name}_\*\.json are COCO's, .* take another name")
            for name in ("person", "instances", "captions", "stuff", "person_keypoints", "densepose_coco")
        ),
        ({**WORK, "name": "densepose"}, "name densepose: this is a built-in taxonomy"),
        ({**WORK, "name": "a b"}, "name 'a b': a word of up to 40 letters"),
        ({"classes": WORK["classes"]}, "name None: a word"),
        ({"name": "none"}, "classes: a list of 2 to 128 names, the background among them; here None"),
        ({**WORK, "classes": ["Background"]}, "classes: a list of 2 to 128 names"),
        ({**WORK, "classes": ["Background", *map(str, range(128))]}, "2 to 128 names, .*; here 129 of them"),
        ({**WORK, "classes": ["Helmet", "Vest"]}, "class 0 is where nobody is, and 'Helmet' stands there; begin with"),
        ({**WORK, "classes": ["Background", "Vest", "vest"]}, "classes: 'vest' is there twice"),
        ({**WORK, "classes": ["Background", False]}, "classes: False is no name; put what YAML takes .* in quotes"),
        ({**WORK, "classes": ["Background", "a\nb"]}, r"classes: 'a\\nb' is no name"),
        ({**WORK, "classes": ["Background", 61 * "a"]}, "is longer than 60 letters"),
        ({**WORK, "colours": {"Hat": "#ffffff"}}, "colours: 'Hat' is none of the classes Background, Helmet"),
        ({**WORK, "colours": {"Vest": "orange"}}, "colours: Vest: 'orange' is no colour; write it in quotes"),
        ({**WORK, "colours": {"Background": "#ffffff"}}, "the background is black"),
        ({**WORK, "colours": {"Vest": "#000000"}}, "colours: Vest: #000000 is the colour of Background; every class"),
        ({**WORK, "colours": {"Vest": "#ff8800", "Helmet": "#FF8800"}}, "Helmet: #FF8800 is the colour of Vest; every"),
        ({**WORK, "colours": ["#ffffff"]}, "colours by class, as in"),
        ({**WORK, "pairs": "gloves"}, r"pairs 'gloves': a list of \[left, right\]"),
        ({**WORK, "pairs": [["Left glove"]]}, r"pairs: \['Left glove'\] is no \[left, right\] of the classes Helmet"),
        ({**WORK, "pairs": [["Background", "Vest"]]}, r"is no \[left, right\] of the classes"),
        ({**WORK, "pairs": [["Vest", "Vest"]]}, "a class has one other one, once"),
        ({**WORK, "pairs": [["Vest", "Helmet"], ["Helmet", "Left glove"]]}, "a class has one other one, once"),
    ],
)
def test_what_is_no_taxonomy_is_refused_in_a_sentence(said: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_taxonomy(said)
    assert re.search(f"^taxonomy .*{message}", fault({"taxonomy": said}) or "")


def test_archives_say_them(tmp_path: Path) -> None:
    people = somebody(read_taxonomy(WORK))
    people.save(tmp_path / "people.npz")
    assert People.load(tmp_path / "people.npz").taxonomy == people.taxonomy
    assert People.load(tmp_path / "people.npz", people.taxonomy).taxonomy is people.taxonomy
    with pytest.raises(ValueError, match="its parts are of the 5 classes of workwear, not the 20 expected"):
        People.load(tmp_path / "people.npz", CIHP)
    assert "taxonomy" not in npz.to_arrays(somebody(CIHP))
    assert "taxonomy" not in npz.to_arrays(somebody(MHP))


def test_as_many_as_cihp_are_not_taken_for_cihps() -> None:
    names = ["Background", *(f"part {k}" for k in range(1, len(CIHP)))]
    people = somebody(read_taxonomy({"name": "twenty", "classes": names}))
    assert npz.decode(npz.encode(people)).taxonomy.name == "twenty"


@pytest.mark.parametrize(
    "told", [np.zeros(8, np.uint8), np.zeros(1 << 17, np.uint8), np.zeros(8, np.int32), np.zeros((2, 2), np.uint8)]
)
def test_an_archive_with_a_broken_one_is_refused(told: np.ndarray[Any, Any], tmp_path: Path) -> None:
    arrays = npz.to_arrays(somebody(read_taxonomy(WORK)))
    np.savez(tmp_path / "broken.npz", **{**arrays, "taxonomy": told})
    with pytest.raises(ValueError, match="taxonomy: "):
        People.load(tmp_path / "broken.npz")


def test_json_has_their_names() -> None:
    document = people_json.to_json(somebody(read_taxonomy(WORK)))
    assert [part["class"] for part in document["predictions"][0]["parts"]] == ["Right glove"]


def test_triton_is_told_them_and_two_cards_are_told_apart() -> None:
    card = {"name": "mine", "version": "1", "taxonomy": WORK, "tasks": {}}
    said = identity(card)
    assert said["card.taxonomy"] == "workwear"
    assert json.loads(said["card.classes"]) == WORK
    assert "(workwear; trained: nothing)" in whose(said)
    assert others(said, identity(card)) is None
    assert others(said, identity({**card, "taxonomy": {**WORK, "classes": ["Background", "Helmet"]}}))
    assert "card.classes" not in identity({**card, "taxonomy": "cihp"})


def test_a_copy_of_people_keeps_them() -> None:
    people = somebody(read_taxonomy(WORK))
    assert replace(people, scores=people.scores).taxonomy is people.taxonomy
