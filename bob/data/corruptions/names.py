"""The corruptions' names and severities, and a picture's own random draw. Imports neither scipy nor Pillow."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence

import numpy as np

from bob.core.errors import ConfigError, unknown_name

BENCHMARK: tuple[str, ...] = (
    "gaussian_noise",
    "shot_noise",
    "impulse_noise",
    "defocus_blur",
    "glass_blur",
    "motion_blur",
    "zoom_blur",
    "snow",
    "frost",
    "fog",
    "brightness",
    "contrast",
    "elastic_transform",
    "pixelate",
    "jpeg_compression",
)
EXTRA: tuple[str, ...] = ("speckle_noise", "gaussian_blur", "spatter", "saturate")
CORRUPTIONS: tuple[str, ...] = BENCHMARK + EXTRA
NONE = "none"
# What a protocol's parameter may say in place of names.
WORDS: dict[str, tuple[str, ...]] = {"benchmark": BENCHMARK, "extra": EXTRA, "all": CORRUPTIONS}
SEVERITIES: tuple[int, ...] = (1, 2, 3, 4, 5)


def chosen_corruptions(names: Sequence[str]) -> tuple[str, ...]:
    """Return the corruptions that a parameter names, each once, in the order of ``CORRUPTIONS``.

    Args:
        names: Any of ``CORRUPTIONS`` and of the words "benchmark", "extra" and "all"; or "none" alone.

    Raises:
        UnknownNameError: A name is not known.
        ConfigError: There is no name, one is said twice, or "none" has company.
    """
    if list(names) == [NONE]:
        return ()
    if NONE in names:
        raise ConfigError(
            f"corruptions are {', '.join(names)}: 'none' is expected alone.", hint="Leave 'none' out, or the others."
        )
    said = [one for name in names for one in WORDS.get(name, (name,))]
    for name in said:
        if name not in CORRUPTIONS:
            known = (*WORDS, NONE, *CORRUPTIONS)
            raise unknown_name("corruption", name, known, hint=f"Choose from: {', '.join(known)}.")
    _check_list("corruptions", said)
    return tuple(name for name in CORRUPTIONS if name in said)


def check_corruptions(names: Sequence[str], severities: Sequence[int]) -> None:
    """Check a choice of corruptions and severities before anything starts.

    Raises:
        UnknownNameError: A name is not one of ``CORRUPTIONS``.
        ConfigError: A severity is not one of ``SEVERITIES``, either list is empty, or it says something twice.
    """
    for name in names:
        if name not in CORRUPTIONS:
            raise unknown_name("corruption", name, CORRUPTIONS, hint=f"Choose from: {', '.join(CORRUPTIONS)}.")
    for severity in severities:
        _check_severity(severity)
    _check_list("corruptions", names)
    _check_list("severities", severities)


def _check_severity(severity: int) -> None:
    if isinstance(severity, bool) or not isinstance(severity, int | np.integer) or severity not in SEVERITIES:
        raise ConfigError(
            f"severity {severity!r} is not known; a whole number from 1 (mild) to 5 (strong) is expected.",
            hint="Choose from: 1, 2, 3, 4, 5.",
        )


def _check_list(what: str, values: Sequence[object]) -> None:
    if not values:
        raise ConfigError(f"the list of {what} is empty; at least one is expected.", hint=f"Name some {what}.")
    twice = [value for place, value in enumerate(values) if value in values[:place]]
    if twice:
        raise ConfigError(f"{what} holds {twice[0]!r} twice; each is scored once.", hint="Name it once.")


def corruption_rng(seed: int, sample_id: str, name: str, severity: int) -> np.random.RandomState:
    """Return a picture's own random state: the same whatever the order, thread, process or machine.

    The 256 bits of a SHA-256 over the four values seed a Mersenne Twister, whose legacy streams numpy keeps fixed.
    """
    text = json.dumps([int(seed), sample_id, name, int(severity)])
    words = np.frombuffer(hashlib.sha256(text.encode()).digest(), dtype="<u4")
    return np.random.RandomState(words)
