"""The profiles that jobs share: reading one, and whether it is good enough to stay. No torch: the runner asks too."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from typing import Any

from bob.core.machine import BUSY_SHARE
from bob.jobs.artifacts import ArtifactStore
from bob.jobs.job import Need
from bob.jobs.needs import PROFILE

log = logging.getLogger(__name__)

PROFILE_FILE = "profile.json"
OTHERS = "profile_others_cpu"
LIMIT_S = 45.0  # of one backbone's rounds
RENEWED = "renewed"  # beside the columns of a profile that replaced a disturbed one


def read_profile(artifacts: ArtifactStore, need: Need) -> dict[str, Any] | None:
    """Return the cost columns of a profile; None if it has not been taken, or is damaged."""
    figures = _content(artifacts, need)
    if figures is None:
        return None
    return {name: value for name, value in figures.items() if name != RENEWED} | {"profile_key": need.key}


def is_renewed(artifacts: ArtifactStore, need: Need) -> bool:
    """Tell whether a profile replaced a disturbed one, so that rows may have that still."""
    return RENEWED in (_content(artifacts, need) or {})


def _content(artifacts: ArtifactStore, need: Need) -> dict[str, Any] | None:
    try:
        return dict(json.loads((artifacts.path(need) / PROFILE_FILE).read_text()))
    except FileNotFoundError:
        return None
    except ValueError as error:
        log.warning("The profile %s is damaged (%s) and is taken again.", need.key, error)
        return None


def is_disturbed(figures: Mapping[str, Any]) -> bool:
    """Tell whether others used the host while a profile or a round of it was taken, so that its times are too long."""
    return float(figures.get(OTHERS) or 0.0) > BUSY_SHARE


def is_settled(artifacts: ArtifactStore, need: Need) -> bool:
    """Tell whether an artifact is there and stays as it is: a disturbed profile is taken again on a quiet host."""
    if need.kind != PROFILE.name or not artifacts.has(need):
        return artifacts.has(need)
    figures = _content(artifacts, need)
    return figures is not None and not is_disturbed(figures)
