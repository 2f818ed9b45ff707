"""`parsing-rcnn train`, `evaluate`, `render`, `pseudo-label`, `import` and `datasets`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

_HERE = Path(__file__).parent
_SHOWN = 20  # problems of a dataset that are printed
_LARGEST_PICTURE = 4096  # pixels of a rendered picture's side
_TRY_AGAIN = 75  # exit code of a run that SIGTERM or SIGUSR1 asked to stop (EX_TEMPFAIL of sysexits.h)


def register(app: typer.Typer) -> None:
    """Add the commands. Torch is imported when a command runs, not before."""
    app.command("train")(train)
    app.command("evaluate")(evaluate)
    app.command("render")(render)
    app.command("pseudo-label")(pseudo_label)
    app.command("import")(import_)
    datasets = typer.Typer(help="Datasets on this disk.", no_args_is_help=True)
    datasets.command("check")(check_datasets)
    datasets.command("shrink")(shrink_datasets)
    app.add_typer(datasets, name="datasets")


def train(
    config: Annotated[
        Path, typer.Argument(help="A recipe of training/configs.", show_default="training/configs/light.yaml")
    ] = _HERE / "configs" / "light.yaml",
    data: Annotated[Path, typer.Option(help="Folder that holds ccp/, groups/ and backgrounds/.")] = Path("data"),
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the run: checkpoints, curves.")] = Path(
        "runs/light"
    ),
    set_: Annotated[list[str] | None, typer.Option("--set", help="Override: section.key=value.")] = None,
    warm_start: Annotated[Path | None, typer.Option(help="Begin from weights, or from a model repository.")] = None,
    fresh: Annotated[bool, typer.Option(help="Do not resume what lies in --out.")] = False,
) -> None:
    """Train a recipe; resumes by itself when --out holds a run.

    SIGTERM or SIGUSR1: saves, and exits with code 75. Ctrl-C likewise, with code 130; twice: ends at once.
    """
    from contextlib import ExitStack

    from parsing_rcnn.interrupt import INTERRUPTED
    from training.collection import nothing_collected

    with nothing_collected():
        from training.config import load_config
        from training.distributed import World, is_parting, join, leave
        from training.errors import TrainingError
        from training.files import held
        from training.interruption import TrainingStopped
        from training.optimisation import linear_scaling
        from training.report import sheet_pictures, write_report
        from training.train import Trainer, TrainingDiverged

    world, lock = World(), ExitStack()
    try:
        recipe = load_config(config, tuple(set_ or ()))
        world = join(recipe.train.device)
        if world.leads:
            lock.enter_context(held(out))
        trainer = Trainer(recipe, data, out, warm_start, world, fresh=fresh)
        if world.leads and (said := linear_scaling(recipe.train, trainer.config.train, world.size)):
            typer.echo(said, err=True)
        if not fresh and trainer.resume() and world.leads:
            ended = f"{out} is finished, at {trainer.finished}: a longer recipe goes on from there, --fresh begins anew"
            typer.echo(ended if trainer.finished else f"resuming {out} at step {trainer.step}", err=True)
        trainer.run()
        leave()
        if world.leads:
            pictures = sheet_pictures(trainer.config, data)
            sheet = " and sheet.png (a minute or two)" if pictures else ""
            typer.echo(f"{out}/weights.safetensors is whole; drawing curves.png{sheet}", err=True)
            write_report(out, pictures)
    except (TrainingError, TrainingDiverged) as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(1) from error
    except TrainingStopped as stopped:
        if world.leads:
            typer.echo(str(stopped), err=True)
        raise typer.Exit(INTERRUPTED if stopped.by_hand else _TRY_AGAIN) from stopped
    except RuntimeError as error:
        if world.size == 1 or not is_parting(error):
            raise
        typer.echo("error: another process of this run has ended; its message, here or on its host, says why", err=True)
        raise typer.Exit(1) from error
    finally:
        lock.close()
        leave()


def evaluate(
    data: Annotated[Path, typer.Option(help="Folder that holds ccp/, groups/ and backgrounds/.")] = Path("data"),
    repository: Annotated[Path | None, typer.Option(help="Model repository (default: the shipped one).")] = None,
    model: Annotated[str | None, typer.Option(help="Model of the repository: fast, large or accurate.")] = None,
    crowd: Annotated[Path, typer.Option(help="Crowd test that benchmarks/make_eval.py wrote.")] = Path(
        "data/eval/crowd"
    ),
    synthetic: Annotated[Path, typer.Option(help="Synthetic test that it wrote.")] = Path("data/eval/synthetic"),
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to write the results to.")] = Path("out/evaluation"),
    runtime: Annotated[str, typer.Option(help="auto, openvino or onnxruntime.")] = "auto",
    precision: Annotated[str, typer.Option(help="auto, fp32, bf16 or int8.")] = "auto",
    checkpoint: Annotated[
        Path | None, typer.Option(help="Measure the weights of a run (safetensors), in torch.")
    ] = None,
    device: Annotated[str, typer.Option(help="With --checkpoint: cpu or cuda.")] = "cpu",
    scales: Annotated[
        str, typer.Option(help="With --checkpoint: further short sides in pixels, such as 512,640.")
    ] = "",
    flip: Annotated[bool, typer.Option("--flip", help="With --checkpoint: mirrored views, too.")] = False,
    uv_symmetry: Annotated[
        Path | None, typer.Option(help="With --flip: DensePose's UV_symmetry_transforms.mat (default: the recipe's).")
    ] = None,
    server: Annotated[
        str | None, typer.Option(help="Measure a running gateway, such as http://127.0.0.1:8080.")
    ] = None,
    key: Annotated[
        str | None,
        typer.Option(
            help="API key of --server (default: PARSING_RCNN_API_KEY, which no list of processes shows).", metavar="KEY"
        ),
    ] = None,
    timeout: Annotated[float, typer.Option(min=0.1, help="With --server: seconds allowed for one picture.")] = 60.0,
    dataset: Annotated[
        Path | None, typer.Option(help="Measure on a published dataset that `datasets check` knows, instead of --data.")
    ] = None,
    images: Annotated[
        Path | None, typer.Option(help="With --dataset: folder of the pictures of a COCO annotation file.")
    ] = None,
    surface: Annotated[
        Path | None, typer.Option(help="With --dataset: surface.npz, or the folder of SMPL's files, to measure GPS on.")
    ] = None,
    skip_missing: Annotated[
        bool, typer.Option("--skip-missing", help="With --dataset: leave pictures where nobody is found out of mIoU.")
    ] = False,
    exact_paste: Annotated[
        bool,
        typer.Option("--exact-paste", help="With --dataset: paste parts and rank people as the paper's code does."),
    ] = False,
) -> None:
    """Measure a model on held-out pictures: exported, in torch, or served."""
    from parsing_rcnn.errors import ParsingRCNNError
    from training.errors import TrainingError
    from training.evaluation.analyzers import open_analyzer
    from training.evaluation.run import run_datasets, run_evaluate
    from training.metrics.confusion import MissingPredictions

    try:
        analyzer = open_analyzer(
            checkpoint=checkpoint,
            device=device,
            scales=_sides(scales),
            flip=flip,
            symmetry=uv_symmetry,
            server=server,
            timeout=timeout,
            key=key,
            repository=repository,
            model=model,
            runtime=runtime,
            precision=precision,
            sweep=dataset is None or not exact_paste,
        )
        try:
            if dataset is not None:
                missing: MissingPredictions = "skip" if skip_missing else "background"
                run_datasets(analyzer, dataset, images, surface, out, missing, exact=exact_paste)
            else:
                run_evaluate(analyzer, data, crowd, synthetic, out)
        finally:
            analyzer.close()
    except (TrainingError, ParsingRCNNError, typer.BadParameter) as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(1) from error


def _sides(text: str) -> tuple[int, ...]:
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if any(not part.isdigit() or not 32 <= int(part) <= 4000 for part in parts):
        raise typer.BadParameter(f"--scales {text!r}: short sides in pixels, 32 to 4000, separated by commas")
    return tuple(int(part) for part in parts)


def render(
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the dataset; with --sheet, the PNG file.")],
    count: Annotated[int, typer.Option(min=1, help="How many pictures.")] = 1000,
    size: Annotated[
        list[str] | None, typer.Option(help="HEIGHTxWIDTH in pixels; of several, each picture has one by chance.")
    ] = None,
    people: Annotated[
        int | None, typer.Option(min=1, max=6, help="People in each picture (default: 1..6 by chance).")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same pictures.")] = 0,
    workers: Annotated[int, typer.Option(min=1, help="Number of processes.")] = 2,
    assets: Annotated[
        Path | None, typer.Option(help="Folder of MakeHuman clothes, hair, skins and poses (default: none).")
    ] = None,
    backgrounds: Annotated[Path, typer.Option(help="Folder of JPEGs without people.")] = Path("data/backgrounds"),
    cache: Annotated[Path, typer.Option(help="Where baked bodies and surfaces are kept.")] = Path("data/bodies"),
    held_out: Annotated[
        bool, typer.Option(help="Bodies, skins, poses and backgrounds that training never sees.")
    ] = False,
    also: Annotated[
        list[str] | None, typer.Option(help="A further layout of the same pictures: parsing-rcnn or mhp, in OUT/NAME.")
    ] = None,
    sheet: Annotated[bool, typer.Option(help="Render only a sheet of 24 pictures, to look at.")] = False,
) -> None:
    """Render synthetic people: a dataset in the CIHP layout with DensePose-COCO annotations, or a contact sheet."""
    from training.data.sources import background_photos
    from training.errors import TrainingError
    from training.progress import progress_bar

    try:
        from training.data.synthetic.generator import Generator, Source
        from training.data.synthetic.layouts import layout_of, write_layout
        from training.data.synthetic.writer import Job, claim_sheet, contact_sheet, write_dataset, write_sheet

        layouts = [layout_of(name) for name in also or ()]
        sizes = tuple(_size(text) for text in size or ["384x384"])
        pictures = background_photos(backgrounds, validation=held_out)
        source = Source(assets, cache, pictures, sizes, seed, held_out)
        if sheet:
            claim_sheet(out)
            write_sheet(contact_sheet(Generator(source)), out)
            return
        with progress_bar() as progress:
            steps = write_dataset(Job(source, out, people), count, workers)
            for _ in progress(range(count), "pictures"):
                next(steps)
            next(steps, None)
        for layout in layouts:
            write_layout(out, layout, out / layout)
    except (TrainingError, typer.BadParameter) as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(1) from error


def _size(text: str) -> tuple[int, int]:
    found = re.fullmatch(r"([0-9]{1,5})x([0-9]{1,5})", text)
    height, width = map(int, found.groups()) if found else (0, 0)
    if not 64 <= min(height, width) <= max(height, width) <= _LARGEST_PICTURE:
        raise typer.BadParameter(
            f"--size {text!r}: write it as HEIGHTxWIDTH in pixels, each from 64 to {_LARGEST_PICTURE}"
        )
    return height, width


def pseudo_label(
    photos: Annotated[Path, typer.Option(help="Folder of JPEGs with one main person each.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the label maps.")] = Path("data/pseudo"),
    repository: Annotated[Path | None, typer.Option(help="Model repository (default: the shipped one).")] = None,
) -> None:
    """Label photos by the present model, where it is sure, for self-training (data.pseudo_labels of a recipe)."""
    from parsing_rcnn.pipeline import Pipeline
    from training.data.sources import unlabelled_photos
    from training.errors import DatasetError, TrainingError
    from training.progress import progress_bar
    from training.pseudo_labels import check_repository, write_labels

    try:
        found = list(unlabelled_photos(photos).values())
        if not found:
            raise DatasetError(f"{photos}: no JPEG photos to label; point --photos at a folder that has some")
        analyzer = Pipeline(repository)
        check_repository(analyzer.repository)
        with progress_bar() as progress:
            written = write_labels(analyzer, found, out, progress(found, "photos"))
    except TrainingError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(1) from error
    typer.echo(f"{written.kept} of {len(found)} photos labelled in {out}")
    if unsure := len(found) - written.kept - len(written.broken):
        typer.echo(f"{unsure} without a label: nobody is found, or nobody surely", err=True)
    for said in written.broken[:_SHOWN]:
        typer.echo(said, err=True)
    if len(written.broken) > _SHOWN:
        typer.echo(f"and {len(written.broken) - _SHOWN} more that cannot be read", err=True)
    others = [path for path in photos.iterdir() if path.is_file() and path not in found]
    if others:
        kinds = ", ".join(sorted({path.suffix or path.name for path in others}))
        typer.echo(f"{len(others)} files left out ({kinds}): photos to train on are JPEGs, .jpg or .jpeg", err=True)


def import_(
    file: Annotated[Path, typer.Argument(help="A checkpoint: .pkl, .pth, .pt or .safetensors.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Weights to write; their recipe comes beside them.")],
    source: Annotated[str, typer.Option(help="detectron2, torchvision or zoo (default: by its names).")] = "auto",
    eps: Annotated[
        float | None,
        typer.Option(
            min=0.0, help="Epsilon of the file's batch norms, where it is not the one that its kind of file has."
        ),
    ] = None,
    partial: Annotated[
        bool, typer.Option("--partial", help="Write even if parts are missing; those start from random weights.")
    ] = False,
) -> None:
    """Bring in weights of detectron2's DensePose, torchvision's FPN detectors or Parsing R-CNN's zoo.

    Of torchvision's detectors those with ResNet-50, ResNet-101 or ResNeXt-101 32x8d.
    """
    from training.errors import TrainingError
    from training.importers.importer import SOURCES, import_checkpoint

    if source not in SOURCES:
        raise typer.BadParameter(f"--source {source!r}: choose one of {', '.join(SOURCES)}")
    try:
        report = import_checkpoint(file, out, source, eps, partial=partial)
    except TrainingError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(1) from error
    typer.echo(report.text())
    if not report.written:
        typer.echo(
            "error: nothing was written: a part that the file should hold is missing (--partial writes)", err=True
        )
        raise typer.Exit(1)
    typer.echo(f"{out}")


def check_datasets(
    path: Annotated[Path, typer.Argument(help="A dataset folder (CIHP, MHP v2, rendered), or a COCO annotation file.")],
    images: Annotated[Path | None, typer.Option(help="Folder of the pictures of a COCO file.")] = None,
    recipe: Annotated[
        Path | None,
        typer.Option(help="A recipe whose model.taxonomy names classes of your own, which the label maps hold."),
    ] = None,
) -> None:
    """Read every picture as training would, and say what is there and what is missing or broken in it (exit code 1).

    Exit code 2: nothing could be read there, for want of the folder, of one that a split needs, or of a usable file.
    """
    from parsing_rcnn.taxonomy import CIHP
    from training.config import load_config
    from training.data.datasets.check import check, find_datasets
    from training.errors import TrainingError
    from training.progress import progress_bar

    try:
        taxonomy = CIHP if recipe is None else load_config(recipe).model.taxonomy
        readers = find_datasets(path, images, taxonomy)
    except TrainingError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(2) from error
    broken = 0
    for reader in readers:
        with progress_bar() as progress:
            found = check(reader, progress)
        points = f", {found.points} DensePose points" if found.points else ""
        typer.echo(f"{found.name}: {found.pictures} pictures, {found.people} people{points}")
        for problem in found.problems[:_SHOWN]:
            typer.echo(f"  {problem}")
        if len(found.problems) > _SHOWN:
            typer.echo(f"  and {len(found.problems) - _SHOWN} more")
        broken += len(found.problems)
    if broken:
        raise typer.Exit(1)


def shrink_datasets(
    data: Annotated[Path, typer.Argument(help="Folder that holds ccp/, groups/, backgrounds/, makehuman_cc0/.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the copy.")],
    side: Annotated[int, typer.Option(min=64, help="Longest side of a picture, in pixels.")] = 320,
    quality: Annotated[int, typer.Option(min=1, max=100, help="Quality of the JPEGs.")] = 85,
    label_shift: Annotated[
        float, typer.Option(min=-2, max=2, help="The recipe's data.label_shift, which the copy keeps.")
    ] = 0.0,
) -> None:
    """Make a small copy of the photos, to train elsewhere: labels and boxes shrink with them, the splits stay."""
    from training.data.shrink import left_out, shrink
    from training.errors import TrainingError
    from training.progress import progress_bar

    if out.resolve() == data.resolve():
        raise typer.BadParameter(f"--out {out}: this is the folder that is copied; name another")
    try:
        with progress_bar() as progress:
            written = shrink(data, out, side, quality, progress, label_shift=label_shift)
    except TrainingError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(1) from error
    for folder, size in written.items():
        typer.echo(f"{out / folder}: {size / 2**20:.1f} MiB")
    left = left_out(data)
    for path in left[:_SHOWN]:
        typer.echo(f"{path}: left out; training does not read a picture of this name either", err=True)
    if len(left) > _SHOWN:
        typer.echo(f"and {len(left) - _SHOWN} more", err=True)
