"""From names to pictures and the places of their results."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from parsing_rcnn.errors import InvalidOptions
from parsing_rcnn.people import People
from parsing_rcnn_client.predict.outputs import write_outputs
from parsing_rcnn_client.predict.sources import Source
from parsing_rcnn_client.predict.sources import find_sources as find


def find_sources(names: list[str], out: Path) -> list[Source]:
    return find(names, out).sources


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name in ("b.jpg", "a.PNG", "notes.txt", "deep/er/a.webp"):
        path = tmp_path / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    return tmp_path / "in"


def test_a_folder_is_searched_deeply_and_keeps_its_shape(tree: Path) -> None:
    found = find_sources([str(tree)], Path("out"))
    assert [(s.path.name, str(s.target)) for s in found] == [
        ("a.PNG", "out/a"),
        ("b.jpg", "out/b"),
        ("a.webp", "out/deep/er/a"),
    ]


def test_a_pattern_and_a_file_once_each(tree: Path) -> None:
    found = find_sources([str(tree / "*.jpg"), str(tree / "b.jpg")], Path("out"))
    assert [s.path.name for s in found] == ["b.jpg"]


@pytest.mark.parametrize("out", ["in/out", "in"])
def test_results_of_an_earlier_run_are_no_pictures(tree: Path, out: str) -> None:
    results = tree.parent / out
    people = People.empty((8, 8))
    maps = replace(people, parts=np.zeros((0, 4, 4), np.uint8), iuv=np.zeros((0, 3, 4, 4), np.uint8))
    for source in find_sources([str(tree)], results):
        write_outputs(source.target, maps, np.zeros((8, 8, 3), np.uint8))
    assert (results / "b_overlay.png").is_file()
    (tree / "bus_parts.png").write_bytes(b"")  # a picture that is only named like a result
    names = ["a.PNG", "b.jpg", "bus_parts.png", "a.webp"]
    assert [s.path.name for s in find_sources([str(tree)], results)] == names
    (results / "b.npz").unlink()
    assert [s.path.name for s in find_sources([str(tree)], results)] == names
    assert [s.path.name for s in find_sources([str(tree / "*.png")], results)] == ["bus_parts.png"]
    # who names a result means it
    assert [s.path.name for s in find_sources([str(results / "b_overlay.png")], results)] == ["b_overlay.png"]


def test_pictures_of_other_types_are_counted(tree: Path) -> None:
    for name in ("one.HEIC", "deep/two.gif", "deep/three.heic", "four.avif.txt"):
        (tree / name).write_bytes(b"")
    found = find([str(tree), str(tree / "deep")], Path("out"))  # nothing is counted twice
    assert len(found.sources) == 3
    assert found.left_out == {".heic": 2, ".gif": 1}
    assert found.note == "left out: 3 files of other types (.gif, .heic): convert them to JPEG, PNG or WebP"
    assert find([str(tree / "*.PNG")], Path("out")).note == ""
    # who names one means it, and hears of its bytes what they are
    named = find([str(tree), str(tree / "deep" / "two.gif")], Path("out"))
    assert "two.gif" in [s.path.name for s in named.sources]
    assert named.left_out == {".heic": 2}


def test_where_only_other_types_are_it_says_so(tree: Path) -> None:
    (tree / "phone").mkdir()
    (tree / "phone" / "one.heic").write_bytes(b"")
    for name in ("phone", "phone/*.heic"):
        with pytest.raises(
            InvalidOptions, match=r"no picture there.*left out: 1 file of another type \(\.heic\): conv"
        ):
            find([str(tree / name)], Path("out"))


def test_a_file_of_any_suffix_is_tried(tree: Path) -> None:
    assert [s.path.name for s in find_sources([str(tree / "notes.txt")], Path("o"))] == ["notes.txt"]


def test_a_name_that_stands_for_nothing_is_named(tree: Path) -> None:
    with pytest.raises(InvalidOptions, match=r"missing\.jpg: no picture there; name a file, a folder"):
        find_sources([str(tree / "missing.jpg")], Path("out"))


def test_results_that_would_overwrite_each_other_are_refused(tree: Path) -> None:
    with pytest.raises(InvalidOptions, match="would both write"):
        find_sources([str(tree / "a.PNG"), str(tree / "deep" / "er" / "a.webp")], Path("out"))


def test_neighbours_that_differ_in_their_suffix_alone_keep_it(tree: Path) -> None:
    """All of them, and the same ones whatever the order, so that --resume takes no picture's results for another's."""
    for name in ("a.jpg", "a.jpg.png", "deep/er/a.jpeg"):
        (tree / name).write_bytes(b"")
    apart = {
        "a.PNG": "out/a.PNG",
        "a.jpg": "out/a.jpg",
        "a.jpg.png": "out/a.jpg.png",
        "b.jpg": "out/b",
        "deep/er/a.jpeg": "out/deep/er/a.jpeg",
        "deep/er/a.webp": "out/deep/er/a.webp",
    }
    found = find_sources([str(tree)], Path("out"))
    assert {s.path.relative_to(tree).as_posix(): str(s.target) for s in found} == apart
    files = find_sources([str(tree / "a.jpg"), str(tree / "*.PNG")], Path("out"))
    assert sorted(str(s.target) for s in files) == ["out/a.PNG", "out/a.jpg"]
    # their results are known as such in the next run
    people = replace(People.empty((8, 8)), parts=np.zeros((0, 4, 4), np.uint8))
    for source in find_sources([str(tree)], tree):
        write_outputs(source.target, people, np.zeros((8, 8, 3), np.uint8))
    assert (tree / "a.jpg.png_parts.png").is_file()
    assert len(find_sources([str(tree)], tree)) == len(apart)


def test_a_file_with_several_names_is_taken_by_the_one_that_is_no_link(tree: Path) -> None:
    (tree / "a_first.jpg").symlink_to("b.jpg")
    (tree / "deep" / "z.jpg").symlink_to(tree / "b.jpg")
    found = find([str(tree)], Path("out"))
    assert [(s.path.name, str(s.target)) for s in found.sources] == [
        ("a.PNG", "out/a"),
        ("b.jpg", "out/b"),
        ("a.webp", "out/deep/er/a"),
    ]
    assert found.note == "left out: 2 more names of the same files"
    # alone it is a picture like any other, and so is one of a file that is not among the pictures
    assert [str(s.target) for s in find_sources([str(tree / "a_first.jpg")], Path("out"))] == ["out/a_first"]
    (tree / "far.jpg").symlink_to(tree / "notes.txt")
    assert "far.jpg" in [s.path.name for s in find_sources([str(tree)], Path("out"))]


def test_no_picture_takes_the_name_of_a_link_beside_it(tree: Path) -> None:
    """--resume would take the results of the one for the other's as soon as the link pointed elsewhere."""
    (tree / "b.png").symlink_to("a.PNG")
    found = find([str(tree)], Path("out"))
    assert {s.path.name: str(s.target) for s in found.sources} == {
        "a.PNG": "out/a",
        "b.jpg": "out/b.jpg",
        "a.webp": "out/deep/er/a",
    }
    assert found.note == "left out: 1 more name of the same files"


def test_the_same_names_by_several_ways_are_no_links(tree: Path) -> None:
    (tree.parent / "way").symlink_to(tree)
    names = [str(tree), str(tree.parent / "way"), str(tree / "deep" / ".." / "b.jpg")]
    found = find(names, Path("out"))
    assert [str(s.target) for s in found.sources] == ["out/a", "out/b", "out/deep/er/a"]
    assert found.note == ""


def test_a_link_in_another_folder_is_in_nobodys_way(tree: Path) -> None:
    (tree / "deep" / "b.jpg").symlink_to(tree / "b.jpg")
    names = [str(tree / "deep" / "b.jpg"), str(tree / "b.jpg")]
    found = find(names, Path("out"))
    assert [(s.path, str(s.target)) for s in found.sources] == [(tree / "b.jpg", "out/b")]
    assert found.links == 1


def test_standard_input_is_a_picture_or_names(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def given(data: bytes) -> None:
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(data)))

    given(b"\xff\xd8\xff\xe0 a damaged JPEG")
    (one,) = find_sources(["-"], Path("out"))
    assert (str(one.target), one.read()[:2]) == ("out/stdin", b"\xff\xd8")
    given(f"{tree / 'b.jpg'}\n\n{tree / 'a.PNG'}\n".encode())
    assert [s.path.name for s in find_sources(["-"], Path("out"))] == ["b.jpg", "a.PNG"]
    given(f"{tree / 'deep'}\n{tree / 'gone.jpg'}\n".encode())
    found = find_sources(["-"], Path("out"))
    assert [s.path.name for s in found] == ["a.webp", "gone.jpg"]
    with pytest.raises(FileNotFoundError):
        found[1].read()
    (tree / "itself").symlink_to("itself")
    given(f"{tree / 'itself'}\n{tree / 'itself' / 'a.jpg'}\n{tree / 'b.jpg'}\n".encode())
    found = find_sources(["-"], Path("out"))
    assert [s.path.name for s in found] == ["itself", "a.jpg", "b.jpg"]
    with pytest.raises(OSError, match="Too many levels of symbolic links"):
        found[1].read()


def test_standard_input_may_be_anything(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def given(data: bytes) -> list[Source]:
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(data)))
        return find_sources(["-"], Path("out"))

    assert [s.path.name for s in given(f"{tree / 'b.jpg'}\0{tree / 'deep'}\0".encode())] == ["b.jpg", "a.webp"]
    for other in (b"BM\x3a\0\0\0\0\0", b"GIF89a\1\0\1\0", b"II*\0\x08\0\0\0", b"/9j/" + 5000 * b"A"):
        (one,) = given(other)  # what reads it says what it is
        assert (str(one.target), one.read()) == ("out/stdin", other)
    long = "a" * 300
    found = given(f"{tree / 'b.jpg'}\n{long}.jpg\n".encode())
    assert [s.path.name for s in found] == ["b.jpg", f"{long}.jpg"]
    with pytest.raises(OSError, match="too long"):
        found[1].read()
    with pytest.raises(InvalidOptions, match=r"aaa: cannot be looked for \(File name too long\); name another file"):
        find_sources([long], Path("out"))


def test_a_list_ends_its_names_by_line_feeds_alone(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [f"x{mark}y.jpg" for mark in "\u2028\x85\x0b\x0c\x1c"]
    for ends in ("\n", "\r\n"):
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO("".join(name + ends for name in names).encode())))
        assert [s.path.name for s in find_sources(["-"], Path("out"))] == names


@pytest.mark.parametrize("end", ["\n", "\r\n", "\0"])
def test_a_mark_before_a_list_is_in_no_name_unless_a_file_has_it(
    tree: Path, monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    given = f"\ufeffb.jpg{end}a.PNG{end}".encode()
    monkeypatch.chdir(tree)
    for first in ("b.jpg", "\ufeffb.jpg"):
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(given)))
        assert [s.path.name for s in find_sources(["-"], Path("out"))] == [first, "a.PNG"]
        (tree / "\ufeffb.jpg").write_bytes(b"")


def test_folders_that_links_lead_to_are_searched_once_and_links_that_lead_back_end(tree: Path) -> None:
    """Each of the links doubles the ways to a file, so that who follows all of them never ends."""
    (tree / "a.PNG").unlink()
    for name in "abcdefgh":
        (tree / "deep" / name).symlink_to("..")
    (tree / "itself.jpg").symlink_to("itself.jpg")
    (tree / "nowhere.jpg").symlink_to("nobody.jpg")
    elsewhere = tree.parent / "elsewhere"
    (elsewhere / "more").mkdir(parents=True)
    (elsewhere / "more" / "c.jpg").write_bytes(b"")
    (tree / "0 other").symlink_to(elsewhere)
    (tree / "deep" / "1 other").symlink_to(elsewhere)
    placed = ["out/0 other/more/c", "out/b", "out/deep/er/a"]
    assert [str(s.target) for s in find_sources([str(tree)], Path("out"))] == placed
    names = [str(s.path.relative_to(tree)) for s in find_sources([str(tree / "**" / "*.*")], Path("out"))]
    assert names == ["0 other/more/c.jpg", "b.jpg", "deep/er/a.webp"]


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("**", ["b.jpg", "deep/er/a.webp"]),
        ("**/[ab].*", ["b.jpg", "deep/er/a.webp"]),
        ("deep/**/*.webp", ["deep/er/a.webp"]),
        ("d*/**/er/**/*.webp", ["deep/er/a.webp"]),
        ("**/.*/*.jpg", [".cache/c.jpg"]),
        ("*.jp[g]", ["b.jpg"]),
    ],
)
def test_patterns_are_those_of_a_shell(
    tree: Path, monkeypatch: pytest.MonkeyPatch, pattern: str, names: list[str]
) -> None:
    (tree / "a.PNG").unlink()
    (tree / ".cache").mkdir()
    (tree / ".cache" / "c.jpg").write_bytes(b"")
    monkeypatch.chdir(tree)
    for name in (pattern, str(tree / pattern)):
        assert [str(s.path.resolve().relative_to(tree)) for s in find_sources([name], Path("out"))] == names


def test_names_of_any_letters_are_taken(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two ways to write one letter are two names, as the disk has them."""
    given = [
        "-o.jpg",
        "--help.jpg",
        " ",
        "line\nbreak.jpg",
        "*.jpg",
        "[1].jpg",
        "caf\u00e9.jpg",
        "cafe\u0301.jpg",
        "~.JPG",
    ]
    folder = tree.parent / "odd"
    folder.mkdir()
    for name in given:
        (folder / name).write_bytes(b"")
    monkeypatch.chdir(folder)
    assert [s.path.name for s in find_sources(given, Path("out"))] == given
    targets = [s.target.name for s in find_sources(["."], Path("out"))]
    assert targets == sorted(name.rpartition(".")[0] for name in given if name != " ")


def test_an_empty_name_is_not_this_folder(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As of a variable of the shell that is not set."""
    monkeypatch.chdir(tree)
    with pytest.raises(InvalidOptions, match="one of the names is empty: name a file, a folder"):
        find_sources(["b.jpg", ""], Path("out"))


def test_what_macos_keeps_beside_a_picture_is_none(tree: Path) -> None:
    (tree / "._b.jpg").write_bytes(b"Mac OS X")
    assert [s.path.name for s in find_sources([str(tree)], Path("out"))] == ["a.PNG", "b.jpg", "a.webp"]
    assert [s.path.name for s in find_sources([str(tree / "._b.jpg")], Path("out"))] == ["._b.jpg"]
