"""Reading a checkpoint and filling a model with it completely, or saying what does not fit."""

from __future__ import annotations

import pickle
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import timm
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from timm.models import get_pretrained_cfg
from torch import nn

from bob.backbones.backbone import Backbone
from bob.backbones.positions import resize_left_over, resized_positions
from bob.backbones.tensor_shapes import shapes_only
from bob.core.errors import WeightsError

State = dict[str, torch.Tensor]

# Training scripts wrap the weights; of several, the averaged ones are those that were evaluated.
WRAPPERS = ("state_dict_ema", "model_ema", "state_dict", "model")
PREFIXES = ("_orig_mod.", "module.")
SHOWN = 3
# timm's ConvNeXt-V2 masked autoencoders have no final norm: by design it keeps its initial identity scale.
IDENTITY_NORMS = {"head.norm.weight", "head.norm.bias"}
UNSAFE = re.compile(r"GLOBAL ([\w.]+)")
UNREADABLE = (
    OSError,
    EOFError,
    RuntimeError,
    ValueError,
    KeyError,
    AttributeError,
    AssertionError,
    IndexError,
    TypeError,
    OverflowError,
    RecursionError,
    SafetensorError,
    pickle.UnpicklingError,
    zipfile.BadZipFile,
)
UNFITTING = (RuntimeError, KeyError, ValueError, AssertionError, IndexError, TypeError, AttributeError)


def read_state(path: Path) -> State:
    """Read the tensors of a ``.safetensors`` file or a PyTorch checkpoint (``weights_only``: no code is run).

    Raises:
        WeightsError: The file is corrupt, truncated, needs code to be read, or holds no tensors by name.
    """
    try:
        content = load_file(path) if path.suffix == ".safetensors" else _torch_load(path)
    except pickle.UnpicklingError as error:
        raise _unpicklable(path, error) from error
    except UNREADABLE as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        raise WeightsError(
            f"weights file '{path}' cannot be read ({type(error).__name__}: {reason}).",
            hint="It is damaged or no checkpoint: remove it and run 'bob fetch', or copy it again.",
        ) from error
    return _plain(content, path)


def _unpicklable(path: Path, error: pickle.UnpicklingError) -> WeightsError:
    """Say which object of a pickle is no tensor; torch's own text advises to switch the protection off."""
    named = UNSAFE.search(str(error))
    what = f"it holds {named[1]}, which could run code" if named else "it is damaged or holds what could run code"
    return WeightsError(
        f"weights file '{path}' cannot be read: {what}.",
        hint="Save the model's state_dict() alone, best as .safetensors; or run 'bob fetch' for the original.",
    )


def _torch_load(path: Path) -> Any:
    return torch.load(path, map_location="cpu", weights_only=True)


def _plain(content: Any, path: Path) -> State:
    if isinstance(content, Mapping):
        inner = next((content[key] for key in WRAPPERS if isinstance(content.get(key), Mapping)), content)
        if inner and all(isinstance(key, str) and isinstance(value, torch.Tensor) for key, value in inner.items()):
            return {_bare(key): value for key, value in inner.items()}
    keys = f" with {', '.join(map(repr, list(content)[:SHOWN]))}" if isinstance(content, Mapping) else ""
    raise WeightsError(
        f"weights file '{path}' holds a {type(content).__name__}{keys}: expected tensors by name.",
        hint="Save the model's state_dict().",
    )


def _bare(key: str) -> str:
    for prefix in PREFIXES:
        key = key.removeprefix(prefix)
    return key


def load_timm(backbone: Backbone, path: Path, *, size: Mapping[str, Any]) -> nn.Module:
    """Build a timm model with its checkpoint, with the checkpoint's own head if it has one.

    timm's own code resizes position embeddings and renames keys of other code bases; its strict mode and a second
    look here make sure that every tensor of the model comes from the file.

    Args:
        backbone: What to build.
        path: Its checkpoint.
        size: What the architecture is built with: ``{"img_size": (height, width)}`` where it is for one input size,
            ``{"output_stride": 16}`` where it is to be dilated.

    Raises:
        WeightsError: The file does not fit, with the first keys and shapes that differ.
    """
    config = get_pretrained_cfg(backbone.name)
    state = read_state(path)
    if backbone.package is not None:
        state = _by_order(state, reference_state(backbone, config.num_classes))
    state = dict(resized_positions(state, backbone.arch, size))
    heads = _heads(config)
    has_head = bool(heads) and all(f"{head}.weight" in state for head in heads)
    classes = config.num_classes if has_head else 0
    try:
        model = timm.create_model(
            backbone.name,
            pretrained=True,
            pretrained_cfg_overlay={"state_dict": dict(state), "num_classes": classes, "custom_load": False},
            num_classes=classes,
            **size,
        )
    except UNFITTING as error:
        raise misfit(path, backbone, state, reference_state(backbone, classes), error) from error
    model.pretrained_cfg.pop("state_dict", None)  # else every copy of the model would carry the weights twice
    _require_filled(model, backbone, state, path, classes, size)
    resize_left_over(model, state)
    return model


def load_strictly(module: nn.Module, backbone: Backbone, path: Path) -> None:
    """Fill a user's own module from a file: every tensor of the file is used and every one of the module is filled.

    Raises:
        WeightsError: The file does not fit, with the first keys and shapes that differ.
    """
    state = read_state(path)
    own = module.state_dict()
    if set(own) != set(state) or any(own[key].shape != state[key].shape for key in own):
        raise misfit(path, backbone, state, own, None)
    module.load_state_dict(state, strict=True)


def reference_state(backbone: Backbone, classes: int) -> State:
    """Return names and shapes of an architecture's tensors at its native size, without memory for their values."""
    return shapes_only(backbone.arch, classes=classes).state_dict()


def _heads(config: Any) -> tuple[str, ...]:
    names = config.classifier or ()
    return (names,) if isinstance(names, str) else tuple(names)


def _by_order(state: State, reference: State) -> State:
    """Give a packaged checkpoint timm's names: the same tensors in the same order, checked by kind and shape."""
    if set(state) == set(reference) or len(state) != len(reference):
        return state
    pairs = list(zip(state.items(), reference.items(), strict=True))
    fits = all(
        theirs.rpartition(".")[2] == ours.rpartition(".")[2] and value.shape == wanted.shape
        for (theirs, value), (ours, wanted) in pairs
    )
    return {ours: value for (_, value), (ours, _) in pairs} if fits else state


def _require_filled(
    model: nn.Module, backbone: Backbone, state: State, path: Path, classes: int, size: Mapping[str, Any]
) -> None:
    """Refuse a model with a tensor that still has its initial value (for some architectures timm is not strict)."""
    filled = model.state_dict()
    absent = [key for key, value in filled.items() if key not in state and value.is_floating_point()]
    if not absent:
        return
    # The caller seeded the generator; a twin from the same seed shows what the initial values were.
    torch.manual_seed(torch.initial_seed())
    twin = timm.create_model(backbone.arch, num_classes=classes, **size).state_dict()
    left = [key for key in absent if key in twin and torch.equal(filled[key], twin[key])]
    if left and not (set(left) <= IDENTITY_NORMS and backbone.tag == "fcmae"):
        raise misfit(path, backbone, state, {**{key: filled[key] for key in left}}, None)


def misfit(path: Path, backbone: Backbone, state: State, wanted: State, error: Exception | None) -> WeightsError:
    """Build the error for a checkpoint that does not fit: the first missing, unexpected and differently shaped."""
    missing = [f"{key} {tuple(wanted[key].shape)}" for key in wanted if key not in state]
    surplus = [f"{key} {tuple(state[key].shape)}" for key in state if key not in wanted]
    shapes = [
        f"{key} {tuple(state[key].shape)} where {tuple(wanted[key].shape)} is expected"
        for key in wanted
        if key in state and state[key].shape != wanted[key].shape
    ]
    parts = [_first("missing", missing), _first("unexpected", surplus), _first("other shapes", shapes)]
    text = "; ".join(filter(None, parts)) or " ".join(str(error).split())[:300] or "no reason given"
    return WeightsError(
        f"weights file '{path}' does not fit '{backbone.name}': {text}.",
        hint=f"Nothing was loaded. Remove it and run 'bob fetch', or name the architecture it is for instead of "
        f"'{backbone.arch}'.",
    )


def _first(what: str, items: list[str]) -> str:
    if not items:
        return ""
    more = f" and {len(items) - SHOWN} more" if len(items) > SHOWN else ""
    return f"{what}: {', '.join(items[:SHOWN])}{more}"
