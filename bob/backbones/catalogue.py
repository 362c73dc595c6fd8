"""Finding a backbone by name: the catalogue, random controls, users' own, and any other checkpoint that timm has.

Nothing here imports torch. A user's file may (it runs as it is); importing torch inside its build function instead of
at its top keeps planning fast.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from bob.backbones import catalogue_filters as filters
from bob.backbones.backbone import RANDOM_TAG, Backbone, InputConfig
from bob.backbones.described_timm import describe, known_names
from bob.backbones.entries import ALL
from bob.backbones.user_backbones import USER_BACKBONES, register, user_backbone
from bob.core.errors import ConfigError, UnknownNameError, did_you_mean

__all__ = ["catalogue", "control_of", "find", "match", "register", "resolve_input", "select"]

RESOLUTIONS = ("fixed", "native")
LEAST_SIZE = 32  # the stride of most backbones: below it nothing is left to pool


def catalogue() -> tuple[Backbone, ...]:
    """Return every checkpoint known here, users' own last. Controls are not listed: ``arch.random`` is always there."""
    users = (user_backbone(name) for name in USER_BACKBONES.names())
    return (*ALL, *(entry.spec for entry in users if entry is not None))


@functools.cache
def _built_in() -> dict[str, Backbone]:
    return {entry.name: entry for entry in ALL}


def find(name: str) -> Backbone:
    """Return the backbone of a name.

    The catalogue and the user's own come first; any other timm ``arch.tag`` is described once by a child process and
    kept in the user's cache. ``arch.random`` is the control of an architecture: its input configuration is that of
    the architecture's first entry.

    Raises:
        UnknownNameError: Nobody has this name; the message offers the closest.
    """
    if name in _built_in():
        return _built_in()[name]
    user = user_backbone(name)
    if user is not None:
        return user.spec
    arch, _, tag = name.partition(".")
    if tag == RANDOM_TAG:
        return control_of(_first_of(arch, name))
    return _from_timm(name)


def control_of(backbone: Backbone) -> Backbone:
    """Return the random-init control of a backbone's architecture, with that backbone's input configuration."""
    return replace(
        backbone,
        name=f"{backbone.arch}.{RANDOM_TAG}",
        pretrain_method="none",
        pretrain_data="none",
        license="none",
        package=None,
        hub=None,
    )


def match(where: Mapping[str, Any], among: Sequence[Backbone] | None = None) -> tuple[Backbone, ...]:
    """Return the backbones, of the catalogue or ``among``, that meet a suite's filter; see ``filters.match``."""
    everything = catalogue()
    return filters.match(where, everything if among is None else among, (*everything, *(among or ())))


def select(text: str, among: Sequence[Backbone] | None = None) -> tuple[Backbone, ...]:
    """Return the backbones, of the catalogue or ``among``, that a filter text means; see ``filters.select``."""
    everything = catalogue()
    return filters.select(text, everything if among is None else among, (*everything, *(among or ())))


def resolve_input(backbone: Backbone, *, resolution: str, image_size: int) -> InputConfig:
    """Return the input a job uses: the model's own normalisation, interpolation and crop, at the protocol's size.

    Args:
        backbone: Whose input.
        resolution: ``fixed``: ``image_size`` rounded to the nearest multiple that the architecture takes (up at a
            half, at least one); ``native``: the size the checkpoint was trained at.
        image_size: Side in pixels, at least 32; unused with ``native``.

    Raises:
        ConfigError: Another resolution, or a size below 32.
    """
    if resolution not in RESOLUTIONS:
        close = did_you_mean(resolution, RESOLUTIONS)
        raise ConfigError(f"resolution {resolution!r} is not known: expected one of {', '.join(RESOLUTIONS)}.{close}")
    if resolution == "native":
        return backbone.input
    if image_size < LEAST_SIZE:
        raise ConfigError(f"image_size {image_size} is too small: expected at least {LEAST_SIZE} pixels.")
    step = backbone.size_multiple
    return replace(backbone.input, image_size=max(1, (2 * image_size + step) // (2 * step)) * step)


def _first_of(arch: str, name: str) -> Backbone:
    """Return the entry whose input configuration the control of ``arch`` takes."""
    for entry in catalogue():
        if entry.arch == arch:
            return entry
    first = next((known for known in known_names() if known.partition(".")[0] == arch), None)
    if first is None:
        raise _unknown(name, (f"{known.partition('.')[0]}.{RANDOM_TAG}" for known in known_names()))
    return _from_timm(first)


def _from_timm(name: str) -> Backbone:
    known = known_names()
    if name not in known:
        raise _unknown(name, (*(entry.name for entry in catalogue()), *known))
    return describe(name)


def _unknown(name: str, known: Iterable[str]) -> UnknownNameError:
    names = tuple(dict.fromkeys(known))
    # A name cut short ("resnet50") means the catalogue's first that continues it, not the shortest of timm's.
    longer = next((other for other in names if other.startswith(name)), None)
    close = f" Did you mean {longer!r}?" if longer else did_you_mean(name, names)
    word = (name.partition(".")[2] or name.partition("_")[0]).partition("_")[0]
    shown = sum(word in entry.name for entry in catalogue())
    hint = (
        f"'bob list backbones --filter {word}' shows the {shown} that match."
        if shown
        else "'bob list backbones' shows the catalogue; any 'arch.tag' of timm works as well."
    )
    return UnknownNameError(f"backbone {name!r} is not known.{close}", hint=hint)
