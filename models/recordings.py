"""Recordings: classify windows of wrist-worn accelerometer and gyroscope by their spectrograms."""

from collections.abc import Mapping
from functools import cached_property
from typing import Any, Literal, final

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from models.split import Array, DataError, Part, Split

DEFAULTS: Mapping[str, Any] = {
    "source": None,  # a shipped name, or a path to an .npz laid out like one of them
    "window": 252,  # samples of one window
    "step": 126,  # samples from one window to the next
    "n_fft": 126,  # length of a Fourier transform, which gives n_fft / 2 + 1 frequencies
    "segment": None,  # samples in one transform, padded with zeros to n_fft; n_fft when not given
    "hop": 2,  # samples from one transform to the next, one frame each
    "validation_folds": 3,  # folds of whole groups that a trial's value is the mean of
    "test_groups": None,  # subjects of the test part; the file's own `is_test` when not given
}
_CHANNELS = ("ax", "ay", "az", "wx", "wy", "wz")


@final
class Recordings:
    """Spectrograms (item, 5, frequency, frame) of windows that never cross two recordings.

    A group is a subject, or a single recording where the file names no subjects; no group is in
    two parts, nor in two folds. Raises DataError.
    """

    task: Literal["classification"] = "classification"
    target_column = 0

    def __init__(self, arrays: Mapping[str, Array], spec: Mapping[str, Any]) -> None:
        self.spec = {**DEFAULTS, **spec}
        self.spec["segment"] = self.spec["segment"] or self.spec["n_fft"]
        _check(self.spec)
        self.signals = _signals(arrays)
        window, step = self.spec["window"], self.spec["step"]
        counts = [max(0, (len(s) - window) // step + 1) for s in self.signals]  # items each
        if not sum(counts):
            raise DataError("window", "longer than every recording", "shorten it")
        self.has_subjects = "subject" in arrays
        groups = np.asarray(arrays["subject"] if self.has_subjects else np.arange(len(counts)))
        classes, labels = np.unique(arrays["label"], return_inverse=True)
        self.n_classes = len(classes)
        self.classes = _class_names(arrays, classes)
        self.channels = [str(name) for name in arrays.get("channels", _CHANNELS)]
        self.labels, self.groups = np.repeat(labels, counts), np.repeat(groups, counts)  # (item,)
        self.test_groups = _test_groups(arrays, groups, self.spec["test_groups"])
        self.search_groups = np.setdiff1d(groups, self.test_groups)
        if len(self.search_groups) < self.spec["validation_folds"]:
            raise DataError("validation_folds", "more than there are groups", "use fewer")

    def parts(self) -> tuple[str, ...]:
        """The test part and, where subjects are known, each subject left out once."""
        if not self.has_subjects:
            return ("test",)
        return ("test", *(f"leave:{group}" for group in np.unique(self.groups)))

    def resumes_search(self, part: str) -> bool:
        """False: every part trains on more groups than any fold of the search."""
        del part
        return False

    def splits(self, part: str) -> tuple[Split, ...]:
        """The folds of the "search"; else one split without a validation part."""
        if part == "search":
            folds = self.spec["validation_folds"]
            held_out = [self.search_groups[fold::folds] for fold in range(folds)]
            return tuple(
                self._split(np.setdiff1d(self.search_groups, held), validation=held)
                for held in held_out
            )
        if part == "test":
            return (self._split(self.search_groups, test=self.test_groups),)
        if part not in self.parts():
            raise DataError("part", f"no {part!r}", f"known: {', '.join(self.parts())}")
        left = np.array([int(part.removeprefix("leave:"))])
        return (self._split(np.setdiff1d(self.groups, left), test=left),)

    @cached_property
    def _spectrograms(self) -> Array:
        return np.concatenate(
            [spectrograms(s, self.spec) for s in self.signals if len(s) >= self.spec["window"]]
        )

    def _split(
        self, train: Array, validation: Array | None = None, test: Array | None = None
    ) -> Split:
        used = [groups for groups in (train, validation, test) if groups is not None]
        items = np.isin(self.groups, np.concatenate(used))
        groups, labels = self.groups[items], self.labels[items]
        logs = self._spectrograms[items]
        known = logs[np.isin(groups, train)]
        mean, std = known.mean((0, 3), keepdims=True), known.std((0, 3), keepdims=True)
        values = (logs - mean) / np.maximum(std, 1e-6)  # (item, 5, frequency, frame)

        def part(members: Array | None) -> Part | None:
            if members is None:
                return None
            rows = np.flatnonzero(np.isin(groups, members))
            return Part(values, 0, rows, labels[rows], groups[rows])

        trained = part(train)
        assert trained
        recipe = {"columns": self.channels, "classes": self.classes, "mean": mean, "std": std}
        recipe |= {key: self.spec[key] for key in ("window", "step", "n_fft", "segment", "hop")}
        return Split(trained, part(validation), part(test), recipe=recipe)


def spectrograms(signal: Array, spec: Mapping[str, Any]) -> Array:
    """Log magnitudes of short Fourier transforms, Hann-weighted: (item, 5, frequency, frame).

    `signal` is (sample, 6): three axes of acceleration and three of rotation. The channels are
    ax, ay, az, |a|, |w|.
    """
    segment = spec["segment"]
    lengths = [np.linalg.norm(signal[:, axes], axis=1) for axes in (slice(3), slice(3, 6))]
    channels = np.column_stack([signal[:, :3], *lengths])  # (sample, 5)
    windows = sliding_window_view(channels, spec["window"], axis=0)[
        :: spec["step"]
    ]  # (item, 5, window)
    segments = sliding_window_view(windows, segment, axis=2)[:, :, :: spec["hop"]]
    weighted = segments * np.hanning(segment)  # (item, 5, frame, sample)
    spectrum = np.abs(np.fft.rfft(weighted, spec["n_fft"]))  # (item, 5, frame, frequency)
    logs: Array = np.log(spectrum + 1e-2).swapaxes(2, 3).astype(np.float32)
    return logs  # (item, 5, frequency, frame)


def _class_names(arrays: Mapping[str, Array], classes: Array) -> list[str]:
    """The names of the classes, where the file has `label_names`, or their labels."""
    names = arrays.get("label_names", ())
    known = all(0 <= label < len(names) for label in classes)
    return [str(names[label] if known else label) for label in classes]


def _signals(arrays: Mapping[str, Array]) -> list[Array]:
    """One (sample, 6) array a recording."""
    if "recording_lengths" not in arrays:
        return list(arrays["values"].swapaxes(1, 2))  # (recording, channel, sample)
    samples = arrays["counts"] * arrays["units_per_count"]  # (sample, 6), recordings end to end
    return np.split(samples, np.cumsum(arrays["recording_lengths"])[:-1])


def _test_groups(arrays: Mapping[str, Array], groups: Array, wanted: list[int] | None) -> Array:
    if wanted is None and "is_test" not in arrays:
        raise DataError("test_groups", "is missing", f"name some of {np.unique(groups).tolist()}")
    found = np.unique(groups[arrays["is_test"]]) if wanted is None else np.asarray(wanted)
    if not len(found) or not np.isin(found, groups).all():
        known = f"known: {np.unique(groups).tolist()}"
        raise DataError("test_groups", f"{wanted} is not in the data", known)
    return found


def _check(spec: Mapping[str, Any]) -> None:
    for key in ("window", "step", "n_fft", "segment", "hop", "validation_folds"):
        if type(spec[key]) is not int or spec[key] < 1:
            raise DataError(key, f"{spec[key]!r} is not usable", "give a whole number from 1")
    for key, limit in (("segment", "n_fft"), ("segment", "window")):
        if spec[key] > spec[limit]:
            raise DataError(key, f"longer than {limit}", "shorten it")
    if spec["validation_folds"] < 2:
        raise DataError("validation_folds", "fewer than 2", "use 2 or more")
