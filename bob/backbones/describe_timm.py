"""Facts about a timm checkpoint, from timm itself, as JSON: ``python -m bob.backbones.describe_timm NAME | --names``.

The planning process stays torch-free by asking a child process for this; the catalogue's own entries were written
from the same output and a test compares them again.
"""

from __future__ import annotations

import json
import sys
from typing import Any

# timm's module names, where the family's usual name is another one.
FAMILIES = {
    "vision_transformer": "vit",
    "vision_transformer_hybrid": "vit_hybrid",
    "swin_transformer": "swin",
    "swin_transformer_v2": "swinv2",
    "swin_transformer_v2_cr": "swinv2",
    "deit": "vit",
    "beit": "beit",
}
# Architectures that timm keeps in a module of another family, by the start of their name.
FAMILY_PREFIXES = ("mobilenet", "resnet")
# The first method whose mark is in the tag names the pretraining; marks of a later fine-tuning stay supervised.
METHODS = (
    ("dinov3", "DINOv3"),
    ("dinov2", "DINOv2"),
    ("lvd142m", "DINOv2"),
    ("dino", "DINO"),
    ("fcmae", "FCMAE"),
    ("mae", "MAE"),
    ("mim", "MIM"),
    ("siglip", "SigLIP"),
    ("webli", "SigLIP"),
    ("openai", "CLIP"),
    ("laion", "CLIP"),
    ("datacomp", "CLIP"),
    ("clip", "CLIP"),
    ("swsl", "semi-supervised"),
    ("ssl", "semi-supervised"),
    ("ns_jft", "noisy student"),
    ("dist", "distillation"),
)
DATA = (
    ("lvd1689m", "LVD-1689M"),
    ("lvd142m", "LVD-142M"),
    ("webli", "WebLI"),
    ("openai", "WIT-400M"),
    ("laion2b", "LAION-2B"),
    ("datacomp", "DataComp"),
    ("jft", "JFT-300M"),
    ("ig1b", "Instagram-1B"),
    ("yfcc", "YFCC-100M"),
    ("in22k", "ImageNet-22k"),
    ("in21k", "ImageNet-21k"),
    ("in12k", "ImageNet-12k"),
)
# The SPDX names of the licences that timm writes in small letters.
LICENSES = {name.lower(): name for name in ("Apache-2.0", "MIT", "BSD-3-Clause", "CC-BY-NC-4.0", "CC-BY-4.0")}


def describe(name: str) -> dict[str, Any]:
    """Return the fields of a ``Backbone`` for a timm ``arch.tag``, JSON-ready.

    ``params_m`` is counted without the classifier; ``input`` is timm's own configuration of the checkpoint. An
    architecture that is built for one input size (a ViT) can be rebuilt for any multiple of its largest stride.

    Raises:
        KeyError: timm has no such architecture or tag; the argument is a sentence that says which.
    """
    from bob.backbones.tensor_shapes import shapes_only

    config = _config(name)
    model = shapes_only(name.partition(".")[0], classes=0)
    fixed = bool(config.fixed_input_size)
    return {
        "name": name,
        "family": family_of(name),
        "pretrain_method": _first_mark(METHODS, name) or ("supervised" if _in1k(name) else "unknown"),
        "pretrain_data": _data(name),
        "params_m": round(sum(p.numel() for p in model.parameters()) / 1e6, 2),
        "license": LICENSES.get(config.license, config.license) or "unknown",
        "input": {
            "image_size": config.input_size[-1],
            "mean": list(config.mean),
            "std": list(config.std),
            "interpolation": config.interpolation,
            "crop_pct": config.crop_pct,
        },
        "size_multiple": max(level["reduction"] for level in _levels(model)) if fixed else 1,
        "hub": _hub(config, name),
    }


def names() -> list[str]:
    """Return every ``arch.tag`` with pretrained weights that this timm knows."""
    import timm

    return timm.list_pretrained()


def family_of(name: str) -> str:
    """Return the family of a timm architecture: the name of the timm module that defines it, or its usual name."""
    from timm.models import model_entrypoint

    arch = name.partition(".")[0]
    module = model_entrypoint(arch).__module__.rpartition(".")[2]
    return next((prefix for prefix in FAMILY_PREFIXES if arch.startswith(prefix)), FAMILIES.get(module, module))


def _config(name: str) -> Any:
    import timm
    from timm.models import get_pretrained_cfg

    arch, _, tag = name.partition(".")
    if not timm.is_model(arch):
        raise KeyError(f"timm {timm.__version__} has no architecture {arch!r}")
    tags = [known.partition(".")[2] for known in timm.list_pretrained(f"{arch}.*")]
    if tag not in tags:
        raise KeyError(f"timm {timm.__version__} has no tag {tag!r} for {arch!r}; it has {', '.join(tags) or 'none'}")
    return get_pretrained_cfg(name)


def _levels(model: Any) -> list[dict[str, Any]]:
    info = model.feature_info
    return list(info) if isinstance(info, list) else list(info.info)


def _hub(config: Any, name: str) -> str | None:
    if not config.hf_hub_id:
        return config.url if isinstance(config.url, str) and config.url else None
    if config.hf_hub_filename:
        return f"{config.hf_hub_id}:{config.hf_hub_filename}"
    return None if config.hf_hub_id == f"timm/{name}" else config.hf_hub_id


def _first_mark(marks: tuple[tuple[str, str], ...], name: str) -> str | None:
    return next((value for mark, value in marks if mark in name), None)


def _in1k(name: str) -> bool:
    return any(mark in name for mark in ("in1k", "in12k", "in21k", "in22k"))


def _data(name: str) -> str:
    tag = name.partition(".")[2]
    first = _first_mark(DATA, tag)
    if first is None:
        return "ImageNet-1k" if "in1k" in tag or tag in ("dino", "mae") else "unknown"
    return f"{first} + ImageNet-1k" if "ft_in1k" in tag else first


def main() -> int:
    """Write the description of the name on the command line to standard output; exit with 3 if timm has no such."""
    argument = sys.argv[1]
    try:
        sys.stdout.write(json.dumps(names() if argument == "--names" else describe(argument)) + "\n")
    except KeyError as error:
        sys.stderr.write(f"{error.args[0]}\n")
        return 3
    return 0


if __name__ == "__main__":
    sys.exit(main())
