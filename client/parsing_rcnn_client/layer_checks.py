"""Checks of layer names that pictures and videos share."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from parsing_rcnn.errors import InvalidOptions


def split_names(text: str) -> tuple[str, ...]:
    """Split a list of names, separated by commas, from the command line.

    Example:
        >>> split_names("parts, boxes,")
        ('parts', 'boxes')
    """
    return tuple(name.strip() for name in text.split(",") if name.strip())


def require_known(layers: Sequence[str], known: Sequence[str]) -> None:
    """Check that every layer has a known name.

    Raises:
        InvalidOptions: there is no layer, or one is unknown.
    """
    unknown = [name for name in layers if name not in known]
    if unknown or not layers:
        raise InvalidOptions(f"layers: {', '.join(unknown) or 'none'}: choose from {', '.join(known)}")


def require_trained(layers: Sequence[str], of_charts: Collection[str], *, charts_trained: bool) -> None:
    """Check that no layer shows only the output of an untrained head. (The layer parts needs no check: if only the head
    of the task densepose is trained, it is drawn from the charts.)

    Args:
        layers: to be drawn.
        of_charts: the layers that show DensePose charts.
        charts_trained: whether the head of the task densepose is trained.

    Raises:
        InvalidOptions: such a layer; the message names the first.
    """
    for layer in layers:
        if layer in of_charts and not charts_trained:
            raise InvalidOptions(
                f"the layer {layer} needs the task densepose, whose head is not trained in this model: leave the "
                "layer out, or take another model"
            )
