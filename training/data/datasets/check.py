"""Is a dataset folder whole? Reads every picture as training would and says exactly what is missing or broken."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from parsing_rcnn.taxonomy import CIHP, MHP, Taxonomy
from training.data.datasets.cihp import PersonMaps, RawCihp
from training.data.datasets.coco import CocoPeople
from training.data.datasets.mhp import RawMhp
from training.data.datasets.records import Reader, Record, header_size, image_size
from training.data.sample import IGNORE_LABEL
from training.errors import DatasetError
from training.progress import Progress


@dataclass
class Findings:
    """What a split holds and what is wrong with it.

    Attributes:
        name: of the split; pictures, people, points: counts of what could be read.
        problems: one sentence a broken picture or stray file, naming it.
    """

    name: str
    pictures: int = 0
    people: int = 0
    points: int = 0
    problems: list[str] = field(default_factory=list)


def find_datasets(path: Path, images: Path | None = None, taxonomy: Taxonomy = CIHP) -> list[Reader]:
    """Readers of everything that is known at a path: a folder, or a COCO annotation file.

    Of a folder in which nothing is known and whose only dataset of part labels is in a folder of it, that one: CIHP's
    archive unpacks to instance-level_human_parsing, MHP's to LV-MHP-v2.

    Args:
        images: the folder of an annotation file's pictures.
        taxonomy: classes of one's own are what the maps in a layout of CIHP's or MHP's then hold; the annotation files
            of the Parsing R-CNN repository's layout begin with its name.

    Raises:
        DatasetError: nothing that is known is there; the message says what is looked for.
    """
    if not path.exists():
        raise DatasetError(f"{path}: no such file or folder")
    found = [*_of_maps(path, taxonomy), *CocoPeople.find(path, images)]
    if not found and path.is_dir():
        inner = [readers for folder in sorted(path.iterdir()) if (readers := _of_maps(folder, taxonomy))]
        found = inner[0] if len(inner) == 1 else []
    if not found:
        raise DatasetError(
            f"{path}: no dataset that is known: CIHP ({{Training,Validation}}/{{Images,Category_ids,Human_ids}}), "
            "MHP v2 ({train,val}/{images,parsing_annos}), SPLIT_img with SPLIT_parsing and annotations/, "
            "or a COCO annotation file"
        )
    return found


def _of_maps(path: Path, taxonomy: Taxonomy) -> list[Reader]:
    """Readers of part labels in a folder; none of a file."""
    if not path.is_dir():
        return []
    own = None if taxonomy in (CIHP, MHP) else taxonomy
    return [*RawCihp.find(path, own or CIHP), *PersonMaps.find(path, own), *RawMhp.find(path, own or MHP)]


def check(reader: Reader, progress: Progress) -> Findings:
    """Read every picture of a split."""
    findings = Findings(reader.name)
    for index in progress(range(len(reader)), reader.name):
        try:
            record = reader.read(index)
            refuse_cut_off(record.image)
            found = image_size(record.image)  # which decodes all of it, as a run would
            if record.parts is None and found != record.size:
                raise DatasetError(f"{record.image}: {found} pixels, but its annotation file says {record.size}")
        except DatasetError as error:
            findings.problems.append(str(error))
            continue
        try:
            header_size(record.image)
        except DatasetError:
            findings.problems.append(f"{record.image}: can be trained on, but evaluate takes only JPEG, PNG and WebP")
        findings.pictures += 1
        findings.people += sum(not person.crowd for person in record.people)
        findings.points += sum(len(person.points.part) for person in record.people if person.points is not None)
        if record.doubt is not None:
            findings.problems.append(record.doubt)
        if record.parts is not None:
            if not record.people and ((record.parts > 0) & (record.parts < IGNORE_LABEL)).any():
                findings.problems.append(f"{record.image}: parts, but nobody in Human_ids: nothing is learnt from them")
            findings.problems += _unsaid(record)
    findings.problems += list(reader.strays())
    try:
        refuse_no_pictures(reader)
    except DatasetError as error:
        findings.problems.append(str(error))
    if reader.classes is not None and findings.pictures and not findings.people:
        findings.problems.append(
            f"{reader.name}: nobody in any picture, so nothing is learnt or measured: in the maps 0 is nobody, and "
            f"{IGNORE_LABEL} where nobody says who or what is there"
        )
    return findings


def _unsaid(record: Record) -> Iterator[str]:
    """People of whom no pixel has a class: of masks of 0 and 255 in place of classes."""
    for person in record.people:
        found = person.map_in(record)
        if not ((found > 0) & (found < IGNORE_LABEL)).any():
            x1, y1, x2, y2 = person.box.astype(int).tolist()
            yield (
                f"{record.image}: the person in ({x1}, {y1})-({x2}, {y2}) has no pixel of a class, only "
                f"{IGNORE_LABEL}, where nobody says what is there: no part is learnt from them; a label map holds the "
                "numbers of classes"
            )


def refuse_no_pictures(reader: Reader) -> None:
    """Refuse a split whose folders are empty.

    Raises:
        DatasetError: it is.
    """
    if not len(reader):
        raise DatasetError(f"{reader.name}: its folders are empty: put pictures and maps there, or remove them")


def refuse_cut_off(image: Path) -> None:
    """Refuse a JPEG that ends too early.

    Raises:
        DatasetError: it does.
    """
    if _cut_off(image):
        raise DatasetError(f"{image}: cut off, a JPEG without its end; the rest of it would be grey")


def _cut_off(path: Path) -> bool:
    """Whether a JPEG has no end behind its first scan: decoders paint the rest grey and say nothing.

    The mark of the end cannot occur within a scan. Before it are segments, some with a thumbnail that has an end of its
    own, and behind it whatever cameras append: a film, a second picture, notes.
    """
    data = path.read_bytes()
    if not data.startswith(b"\xff\xd8"):
        return False
    at = 2
    while data[at : at + 1] == b"\xff" and data[at + 1 : at + 2] != b"\xda":
        # any number of FF may come before a mark; what is behind it says its own length, itself included
        at += 1 if data[at + 1 : at + 2] == b"\xff" else 2 + int.from_bytes(data[at + 2 : at + 4])
    return data.find(b"\xff\xd9", at) < 0
