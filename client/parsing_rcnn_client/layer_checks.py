"""Checks of layer names that pictures and videos share."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from parsing_rcnn.errors import InvalidOptions


def split_names(text: str) -> tuple[str, ...]:
    """Names with commas between them, as a command line has them.

    Example:
        >>> split_names("parts, boxes,")
        ('parts', 'boxes')
    """
    return tuple(name.strip() for name in text.split(",") if name.strip())


def require_known(layers: Sequence[str], known: Sequence[str]) -> None:
    """Check the names.

    Raises:
        InvalidOptions: there is no layer, or an unknown one.
    """
    unknown = [name for name in layers if name not in known]
    if unknown or not layers:
        raise InvalidOptions(f"layers: {', '.join(unknown) or 'none'}: choose from {', '.join(known)}")


def require_trained(layers: Sequence[str], of_charts: Collection[str], *, charts_trained: bool) -> None:
    """Check that no layer shows only what an untrained head says. (The layer parts is drawn from the charts where only
    their head is trained.)

    Args:
        layers: to be drawn.
        of_charts: the layers that show the charts of DensePose.
        charts_trained: whether the head of the task densepose is trained.

    Raises:
        InvalidOptions: the name of the first such layer.
    """
    for layer in layers:
        if layer in of_charts and not charts_trained:
            raise InvalidOptions(
                f"the layer {layer} needs the task densepose, whose head is not trained in this model: leave the "
                "layer out, or take another model"
            )
