"""What holds where a recipe, what it is based on and `--set` all say something: the uppermost, key by key."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import yaml

_WHOLE = ("sources", "taxonomy")  # one choice, not a set of switches: a recipe that names some means no others


def merged(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """The keys of both; where both have one, that of `above`."""
    out = dict(below)
    if "taxonomy" in above:
        out.pop("parsing_classes", None)  # the number of other classes
    for key, value in above.items():
        both = isinstance(value, dict) and isinstance(out.get(key), dict) and key not in _WHOLE
        out[key] = merged(out[key], value) if both else value
    return out


def override(raw: dict[str, Any], settings: Sequence[str]) -> None:
    """Write settings `section.key=value` into a recipe, each value in YAML.

    Raises:
        ValueError: a setting is none, or its section is one value, by the recipe or by another setting.
    """
    keys = [item.partition("=")[0] for item in settings]
    model = raw.get("model")
    if isinstance(model, dict) and any(f"{key}.".startswith("model.taxonomy.") for key in keys):
        model.pop("parsing_classes", None)
    for number, (key, item) in enumerate(zip(keys, settings, strict=True)):
        if "=" not in item or not all(key.split(".")):
            raise ValueError(f"--set {item!r}: write it as section.key=value")
        target: Any = raw
        *parents, leaf = key.split(".")
        for parent in parents:
            target = target.setdefault(parent, {}) if isinstance(target, dict) else None
        if not isinstance(target, dict):
            other = cause(parents, settings[:number])
            by = f" by --set {other!r}" if other else ""
            raise ValueError(f"--set {item!r}: {'.'.join(parents)} is one value{by}, and holds no {leaf}")
        value = item.partition("=")[2]
        try:
            target[leaf] = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise ValueError(f"--set {item!r}: {value!r} is not YAML") from error


def cause(place: Sequence[str], settings: Sequence[str]) -> str | None:
    """The last of the settings that wrote what is in a place of a recipe: it, or a section above it; None if none did.

    Args:
        place: the keys that lead there, from the outermost on.
    """
    for item in reversed(settings):
        keys = item.partition("=")[0].split(".")
        if keys == list(place[: len(keys)]):
            return item
    return None
