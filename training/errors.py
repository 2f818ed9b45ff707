"""What goes wrong for reasons that a user can mend: each message names the file or the setting."""

from __future__ import annotations


class TrainingError(ValueError):
    """Base of the errors here; commands print one as `error: ...` and exit with code 1 or 2."""


class DatasetError(TrainingError):
    """A dataset folder lacks a file or holds one that does not fit; the message names it."""


class EmptySplitError(DatasetError):
    """A folder has no pictures of the part that is asked for, to train on or held out."""


class CheckpointError(TrainingError):
    """A checkpoint is absent or does not fit the network; the message names the file."""


class ConfigError(TrainingError):
    """A configuration file has a key, a type or a range that does not fit. The message names the key."""


class DivergedError(TrainingError):
    """Weights give numbers that are not finite: nothing can be measured or drawn with them."""


class BackboneWeightsError(TrainingError):
    """ImageNet weights are absent or do not fit; the message says where they come from."""


class OutputError(TrainingError):
    """A file or folder cannot be written, or another run is writing there; the message names it."""
