"""A user's own backbone, without a fork: from a Python file named explicitly, or from an installed package.

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
returns the trained module. A package offers the same under the entry point group ``bob.backbones``: name =
``arch.tag``, value = ``module:attr`` of what ``user_entry(...)`` returns.
"""

from __future__ import annotations

import contextvars
import importlib.util
import inspect
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bob.backbones.backbone import RANDOM_TAG, Backbone
from bob.backbones.entries import ALL
from bob.core.errors import BobError, UnknownNameError
from bob.core.files import sha256_file
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


USER_BACKBONES: Registry[UserBackbone] = Registry(
    "backbone", list_command="bob list backbones", entry_point_group="bob.backbones"
)
_loading: contextvars.ContextVar[Path | None] = contextvars.ContextVar("bob_plugin_file", default=None)
_loaded: dict[Path, str] = {}


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
    code = _loading.get() or _code_of(build)
    path = None if weights is None else (code.parent / Path(weights).expanduser())
    shown = build if isinstance(build, str) else f"{code.name}:{getattr(build, '__qualname__', type(build).__name__)}"
    return UserBackbone(spec=replace(spec, source=shown), build=build, weights=path, code=code)


def register(spec: Backbone, *, build: Build | str, weights: str | Path | None = None) -> None:
    """Make a user's backbone known by its name; arguments and errors as for ``user_entry``."""
    USER_BACKBONES.add(spec.name, user_entry(spec, build=build, weights=weights), replace=_loading.get() is not None)


def user_backbone(name: str) -> UserBackbone | None:
    """Return the user's backbone of this name, or the control of its architecture; None if there is none.

    Raises:
        UnknownNameError: The control of an architecture whose ``build`` brings its weights: nobody can have that.
    """
    if name in USER_BACKBONES:
        return USER_BACKBONES.get(name)
    arch, _, tag = name.partition(".")
    if tag != RANDOM_TAG:
        return None
    same = [known for known in USER_BACKBONES.names() if known.partition(".")[0] == arch]
    return _control(USER_BACKBONES.get(same[0])) if same else None


def load_plugin(path: Path) -> None:
    """Run a user's Python file, which registers its backbones. Running the same content again does nothing.

    Raises:
        BobError: There is no such file, it fails, or it registers nothing that is a backbone.
    """
    path = Path(path).expanduser().resolve()
    if not path.is_file():
        raise BobError(f"plug-in file '{path}' is not there: expected a Python file that registers a backbone.")
    content = sha256_file(path)
    if _loaded.get(path) == content:
        return
    token = _loading.set(path)
    try:
        _run(path, content)
    finally:
        _loading.reset(token)
    if not any(USER_BACKBONES.get(name).code == path for name in USER_BACKBONES.names()):
        raise BobError(
            f"plug-in file '{path}' registers no backbone: expected a call of 'bob.backbones.catalogue.register'."
        )
    _loaded[path] = content


def _run(path: Path, content: str) -> None:
    name = f"bob_plugin_{path.stem}_{content[:12]}"
    module_spec = importlib.util.spec_from_file_location(name, path)
    if module_spec is None or module_spec.loader is None:
        raise BobError(f"plug-in file '{path}' is not a Python file: expected a name that ends in '.py'.")
    module = importlib.util.module_from_spec(module_spec)
    sys.modules[name] = module
    try:
        module_spec.loader.exec_module(module)
    except BobError:
        del sys.modules[name]
        raise
    except Exception as error:
        del sys.modules[name]
        kind = type(error).__name__
        raise BobError(f"plug-in file '{path}' fails when it is loaded: {kind}: {error}.") from error


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
