"""The npz archive: names, dtypes, and a load that trusts nothing."""

from __future__ import annotations

import io
import tracemalloc
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from parsing_rcnn.codecs import npz
from parsing_rcnn.own_classes import read_taxonomy
from parsing_rcnn.people import People
from parsing_rcnn.taxonomy import DENSEPOSE, MHP, Taxonomy


def people() -> People:
    rng = np.random.default_rng(0)
    iuv = rng.integers(0, 256, (2, 3, 16, 16), dtype=np.uint8)
    iuv[:, 0] %= 25
    return People(
        np.array([[0, 0, 5, 5], [1, 2, 8, 9]], np.float32),
        np.array([0.9, 0.8], np.float32),
        (12, 34),
        parts=rng.integers(0, 20, (2, 16, 16), dtype=np.uint8),
        part_scores=rng.random((2, 20), dtype=np.float32),
        iuv=iuv,
        iuv_scores=rng.random((2, 25), dtype=np.float32),
    )


def test_names_and_dtypes_are_the_documented_ones() -> None:
    with np.load(io.BytesIO(npz.encode(people()))) as archive:
        found = {name: (archive[name].dtype.name, archive[name].shape) for name in archive}
    assert found == {
        "boxes": ("float32", (2, 4)),
        "scores": ("float32", (2,)),
        "parts": ("uint8", (2, 16, 16)),
        "part_scores": ("float32", (2, 20)),
        "iuv": ("uint8", (2, 3, 16, 16)),
        "iuv_scores": ("float32", (2, 25)),
        "image_size": ("int32", (2,)),
    }


def test_round_trip(tmp_path: Path) -> None:
    before = people()
    (tmp_path / "a.npz").write_bytes(npz.encode(before))
    for after in (npz.decode(npz.encode(before)), npz.decode(tmp_path / "a.npz")):
        assert after.image_size == (12, 34)
        for name in ("boxes", "scores", "parts", "part_scores", "iuv", "iuv_scores"):
            assert np.array_equal(getattr(after, name), getattr(before, name))


def test_a_tracked_person_has_a_number() -> None:
    before = replace(people(), tracker_id=np.array([7, 2], np.int32))
    after = npz.decode(npz.encode(before))
    assert after.tracker_id is not None
    assert (after.tracker_id.tolist(), after.tracker_id.dtype) == ([7, 2], np.int32)
    assert [person.tracker_id.tolist() for person in after] == [[7], [2]]  # type: ignore[union-attr]
    with pytest.raises(TypeError, match="tracker_id: expected int32"):
        replace(before, tracker_id=np.array([7, 2]))


@pytest.mark.parametrize(("task", "doubted"), [("parsing", [True, False]), ("densepose", [False, True])])
def test_maps_that_mean_nothing_are_named_where_there_are_any(task: str, doubted: list[bool]) -> None:
    before = replace(people(), untrained=frozenset({task}))
    with np.load(io.BytesIO(npz.encode(before))) as written:
        assert (written["untrained"].tolist(), written["untrained"].dtype) == (doubted, np.bool_)
    assert npz.decode(npz.encode(before)).untrained == {task}
    without = replace(before, parts=None, part_scores=None, iuv=None, iuv_scores=None)
    assert "untrained" not in npz.to_arrays(without)


def test_maps_that_were_not_computed_stay_away() -> None:
    after = npz.decode(npz.encode(People.empty((3, 4))))
    assert len(after) == 0
    assert after.parts is None
    assert after.iuv is None
    assert npz.decode(npz.encode(People.empty((3, 4))), MHP).taxonomy is MHP


def test_a_pickle_is_never_loaded() -> None:
    buffer = io.BytesIO()
    np.savez(buffer, boxes=np.array([{}], dtype=object), scores=np.zeros(0), image_size=np.zeros(2))
    with pytest.raises(ValueError, match="allow_pickle"):
        npz.decode(buffer.getvalue())


def test_other_files_are_refused() -> None:
    for data in (b"", b"no archive", npz.encode(people())[:200]):
        with pytest.raises(ValueError, match="not an npz of people"):
            npz.decode(data)
    single = io.BytesIO()
    np.save(single, np.zeros(3))
    with pytest.raises(ValueError, match="not an npz of people"):
        npz.decode(single.getvalue())
    lacking = io.BytesIO()
    np.savez(lacking, boxes=np.zeros((0, 4), np.float32))
    with pytest.raises(ValueError, match="not an npz of people"):
        npz.decode(lacking.getvalue())


def archive(compression: int = zipfile.ZIP_DEFLATED, **changed: bytes | NDArray[np.generic]) -> bytes:
    """The archive of `people`, with some of its members, or arrays, in place of its own."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as written:
        for name, content in (npz.to_arrays(people()) | changed).items():
            member = io.BytesIO(content if isinstance(content, bytes) else b"")
            if not isinstance(content, bytes):
                np.save(member, content)
            written.writestr(f"{name}.npy", member.getvalue())
    return buffer.getvalue()


def header(shape: str, descr: str = "'<f4'") -> bytes:
    text = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}".encode()
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text


def with_byte(of_file: int, of_directory: int, value: int) -> bytes:
    """An archive where a byte of its first member's description is another one, in both places that it stands."""
    data = bytearray(archive())
    data[of_file] = data[data.index(b"PK\x01\x02") + of_directory] = value
    return bytes(data)


def damaged() -> bytes:
    data = archive()
    start = data.index(b"boxes.npy") + len("boxes.npy")
    return data[:start] + b"\xff\xff\xff" + data[start + 3 :]


def with_another_checksum() -> bytes:
    data = bytearray(archive(zipfile.ZIP_STORED))
    data[data.index(b"\x93NUMPY") + 150] ^= 1  # of the boxes' values
    return bytes(data)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (damaged, "decompressing"),
        (with_another_checksum, "CRC"),
        (lambda: with_byte(6, 8, 1), "encrypted"),
        (lambda: with_byte(8, 10, 97), "something else than deflate"),
        (lambda: archive(zipfile.ZIP_LZMA), "something else than deflate"),
        (lambda: archive(boxes=header("(1000000000000, 4)")), "cannot be in"),
        (lambda: archive(boxes=header("(2, 4)") + bytes(31)), "EOF"),
        (lambda: archive(boxes=header("(2, 4)") + bytes(33)), "goes on after its end"),
        (lambda: archive(boxes=header("(-2, 4)")), "is no shape"),
        (lambda: archive(boxes=header("(2, 4)", "()")), "npz of people"),
        (lambda: archive(boxes=header("-" * 9000 + "1")), "npz of people"),
        (lambda: archive(boxes=header("((((")), "npz of people"),
        (lambda: archive(boxes=b"\x93NUMPY\x02\x00" + b"\xff" * 4), "version 1.0"),
        (lambda: archive(boxes=np.zeros((), np.float32)), r"boxes: expected shape \(n, 4\), got \(\)"),
        (lambda: archive(scores=np.zeros(3, np.float32)), r"scores: expected shape \(n\) with n = 2, got \(3,\)"),
        (lambda: archive(iuv=np.zeros((2, 2, 4, 4), np.uint8)), r"iuv: expected shape \(n, 3, S, S\) with n = 2"),
        (lambda: archive(image_size=np.ones(3, np.int32)), r"image_size: expected shape \(2,\)"),
    ],
)
def test_damage_and_malice_are_refused_as_such(make: Callable[[], bytes], says: str, tmp_path: Path) -> None:
    (tmp_path / "a.npz").write_bytes(make())
    for source in (make(), tmp_path / "a.npz"):
        with pytest.raises(ValueError, match=says):
            npz.decode(source)


@pytest.mark.parametrize(
    ("name", "dtype"),
    [("boxes", np.float64), ("parts", np.int64), ("image_size", np.float64), ("image_size", np.bool_),
     ("untrained", np.int64)],
)  # fmt: skip
def test_a_wrong_dtype_is_named(name: str, dtype: type[np.generic]) -> None:
    arrays = npz.to_arrays(replace(people(), untrained=frozenset({"parsing"})))
    with pytest.raises(TypeError, match=f"{name}: expected .*, got {np.dtype(dtype)}"):
        npz.decode(archive(**{name: arrays[name].astype(dtype)}))


def test_more_than_it_may_have_is_not_unpacked() -> None:
    crowd = archive(boxes=np.zeros((4_000_000, 4), np.float32))
    wide = archive(parts=np.zeros((2, 5000, 5000), np.uint8))
    assert len(crowd) + len(wide) < 200_000
    tracemalloc.start()
    try:
        for data, says in ((crowd, "at most 64 people"), (wide, "512 cells a side")):
            with pytest.raises(ValueError, match=says):
                npz.decode(data, most=64)
        assert tracemalloc.get_traced_memory()[1] < 5_000_000
    finally:
        tracemalloc.stop()


def test_as_much_as_it_may_have_is_read() -> None:
    """64 people, and maps of 512 cells on their longer side, as the message says."""
    boxes = np.tile(np.array([0, 0, 5, 5], np.float32), (64, 1))
    full = People(boxes, np.ones(64, np.float32), (9, 9), parts=np.zeros((64, 512, 8), np.uint8))
    assert len(npz.decode(npz.encode(full), most=64)) == 64
    for name, more in (("boxes", (65, 4)), ("parts", (64, 513, 8)), ("parts", (64, 8, 513))):
        arrays = {**npz.to_arrays(full), name: np.zeros(more, npz.to_arrays(full)[name].dtype)}
        with pytest.raises(ValueError, match="at most 64 people and 512 cells a side"):
            npz.decode(archive(**arrays), most=64)


def test_a_file_may_have_any_number_of_people(tmp_path: Path) -> None:
    many = People(
        np.zeros((100, 4), np.float32), np.zeros(100, np.float32), (9, 9), parts=np.zeros((100, 600, 2), "u1")
    )
    many.save(tmp_path / "many.npz")
    assert len(People.load(tmp_path / "many.npz")) == 100
    with pytest.raises(ValueError, match="at most 64 people"):
        npz.decode(tmp_path / "many.npz", most=64)


def test_a_file_that_is_not_there_is_no_bad_archive(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        npz.decode(tmp_path / "none.npz")


def of(taxonomy: Taxonomy) -> People:
    """Somebody whose every part is the last class."""
    count = len(taxonomy)
    parts, sure = np.full((1, 4, 4), count - 1, np.uint8), np.ones((1, count), np.float32)
    return replace(people()[:1], parts=parts, part_scores=sure, taxonomy=taxonomy)


def coloured(classes: tuple[str, ...], name: str = "mine") -> Taxonomy:
    return Taxonomy(name, classes, np.arange(3 * len(classes), dtype=np.uint8).reshape(-1, 3))


@pytest.mark.parametrize(
    "taxonomy",
    [
        coloured(("Background", "Hat"), "my own classes"),
        coloured(("Nobody", "Hat")),
        coloured(("Background", "Hat", "Hat")),
        coloured(tuple(f"Class {number}" for number in range(200))),
        coloured(("Background", "\ud800")),
        DENSEPOSE,
    ],
    ids=["name", "background", "twice", "many", "surrogate", "built-in"],
)
def test_classes_that_no_card_could_have_are_given_to_who_reads(taxonomy: Taxonomy, tmp_path: Path) -> None:
    before = of(taxonomy)
    assert "taxonomy" not in npz.to_arrays(before)
    before.save(tmp_path / "a.npz")
    for after in (npz.decode(npz.encode(before), taxonomy), People.load(tmp_path / "a.npz", taxonomy)):
        assert after.taxonomy == taxonomy
        np.testing.assert_array_equal(after.parts, before.parts)  # type: ignore[arg-type]


def test_without_them_their_number_is_said() -> None:
    with pytest.raises(ValueError, match="its parts are of 2 classes that it does not name: give their `taxonomy`"):
        npz.decode(npz.encode(of(coloured(("Nobody", "Hat")))))


def test_the_longest_names_are_read_back() -> None:
    longest = [f"{number:03}" + "\U00020000" * 57 for number in range(127)]
    pairs = [[longest[row], longest[row + 1]] for row in range(0, 126, 2)]
    taxonomy = read_taxonomy({"name": "lang", "classes": ["Background", *longest], "pairs": pairs})
    assert npz.decode(npz.encode(of(taxonomy))).taxonomy == taxonomy


@pytest.mark.parametrize(
    ("told", "says"), [(b"{", "taxonomy: Expecting"), (b"[" * 100_000, "nested too deeply"), (b"7", "7 is none of")]
)
def test_a_damaged_taxonomy_is_named_and_one_that_is_given_counts(told: bytes, says: str) -> None:
    taxonomy = read_taxonomy({"name": "mine", "classes": ["Background", "Hat"]})
    arrays = npz.to_arrays(of(taxonomy)) | {"taxonomy": np.frombuffer(told, np.uint8)}
    with pytest.raises(ValueError, match=f"{says}.*; give the `taxonomy` of its parts"):
        npz.decode(archive(**arrays))
    assert npz.decode(archive(**arrays), taxonomy).taxonomy is taxonomy
