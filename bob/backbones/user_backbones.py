"""A user's own backbone, without a fork: registered by a plug-in (see ``bob.core.plugins``).

A file such as ``my_backbone.py``, used with ``bob run --plugin my_backbone.py --backbone tiny_net.mine ...``::

    from bob.backbones.catalogue import register
    from bob.backbones.backbone import Backbone, InputConfig

    def build(image_size):
        from torch import nn
        return nn.Sequential(nn.Conv2d(3, 64, 4, stride=4), nn.ReLU())

    register(
        Backbone(
            name="tiny_net.mine", family="mine", pretrain_method="supervised", pretrain_data="my pictures",
            params_m=0.003, license="MIT",
            input=InputConfig(
                image_size=64, mean=(0.5,) * 3, std=(0.5,) * 3, interpolation="bilinear", crop_pct=1.0
            ),
        ),
        build=build,
        weights="tiny_net.safetensors",  # beside the file; every tensor must fit
    )

``build(image_size=...)`` returns a ``torch.nn.Module``: either timm-like (``forward_features`` and ``forward_head``),
or any whose ``forward`` takes (N, 3, S, S) and gives (N, C), or a map (N, C, H, W), which is averaged over H and W.
Detection and segmentation need the map, from ``forward_features`` or ``forward``, and bring pictures of any height and
width: ``image_size`` is then the longer side, and a ``build`` that must know both declares ``canvas=None`` as well and
is given ``(height, width)``.
With ``weights`` BoB loads the file strictly, and ``tiny_net.random`` is its control. Without, ``build`` itself
returns the trained module. A package registers in the same way from a module that it names under the entry point group
``bob.plugins``.
"""

from __future__ import annotations

import importlib.util
import inspect
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bob.backbones.backbone import RANDOM_TAG, Backbone
from bob.backbones.entries import ALL
from bob.core import plugins
from bob.core.errors import BobError, UnknownNameError
from bob.core.registry import Registry, load_reference

Build = Callable[..., Any]


@dataclass(frozen=True, kw_only=True)
class UserBackbone:
    """A backbone that a user brings.

    Attributes:
        spec: What it is.
        build: Called with ``image_size``; returns the module.
        weights: The checkpoint that is loaded into it strictly; None if ``build`` returns a trained module.
        code: The Python file that defines it: its content is the identity where there are no weights.
    """

    spec: Backbone
    build: Build | str
    weights: Path | None
    code: Path

    def module(self, sides: tuple[int, int]) -> Any:
        """Build the module for pictures of (3, height, width)."""
        build = load_reference(self.build) if isinstance(self.build, str) else self.build
        canvas = {"canvas": sides} if "canvas" in inspect.signature(build).parameters else {}
        return build(image_size=max(sides), **canvas)


USER_BACKBONES: Registry[UserBackbone] = Registry("backbone", list_command="bob list backbones")


def user_entry(spec: Backbone, *, build: Build | str, weights: str | Path | None = None) -> UserBackbone:
    """Return the entry of a user's backbone.

    Args:
        spec: Its description; ``spec.source`` is filled in.
        build: A function, or ``module:attr`` of one, called with ``image_size`` (pixels).
        weights: Its checkpoint; a relative path starts at the folder of the defining file.

    Raises:
        BobError: The name is a built-in one, lacks a tag or claims to be a control.
    """
    if spec.name in {entry.name for entry in ALL}:
        raise BobError(f"backbone {spec.name!r} is in the catalogue already. Give your own another name.")
    if not spec.tag or spec.is_control:
        raise BobError(f"backbone name {spec.name!r} must be 'arch.tag', with another tag than {RANDOM_TAG!r}.")
    registering = plugins.source()
    code = registering.file if registering else _code_of(build)
    path = None if weights is None else (code.parent / Path(weights).expanduser())
    shown = build if isinstance(build, str) else f"{code.name}:{getattr(build, '__qualname__', type(build).__name__)}"
    return UserBackbone(spec=replace(spec, source=shown), build=build, weights=path, code=code)


def register(spec: Backbone, *, build: Build | str, weights: str | Path | None = None) -> None:
    """Make a user's backbone known by its name; arguments and errors as for ``user_entry``."""
    USER_BACKBONES.add(spec.name, user_entry(spec, build=build, weights=weights))


def user_backbone(name: str) -> UserBackbone | None:
    """Return the user's backbone of this name, or the control of its architecture; None if there is none.

    Raises:
        UnknownNameError: The control of an architecture whose ``build`` brings its weights: it cannot be had.
    """
    if name in USER_BACKBONES:
        return USER_BACKBONES.get(name)
    arch, _, tag = name.partition(".")
    if tag != RANDOM_TAG:
        return None
    same = [known for known in USER_BACKBONES.names() if known.partition(".")[0] == arch]
    return _control(USER_BACKBONES.get(same[0])) if same else None


def _code_of(build: Build | str) -> Path:
    if isinstance(build, str):
        module_spec = importlib.util.find_spec(build.partition(":")[0])
        origin = module_spec.origin if module_spec else None
    else:
        origin = inspect.getsourcefile(inspect.unwrap(build))
    if origin is None:
        raise BobError(f"the code of {build!r} has no file, so its backbone has no identity.")
    return Path(origin)


def _control(entry: UserBackbone) -> UserBackbone:
    if entry.weights is None:
        control = f"{entry.spec.arch}.{RANDOM_TAG}"
        raise UnknownNameError(
            f"backbone '{control}' cannot be had: 'build' of '{entry.spec.name}' brings its weights.",
            hint="Name the checkpoint with 'weights=' and let 'build' return the module without it.",
        )
    spec = replace(
        entry.spec,
        name=f"{entry.spec.arch}.{RANDOM_TAG}",
        pretrain_method="none",
        pretrain_data="none",
        license="none",
    )
    return replace(entry, spec=spec, weights=None)
