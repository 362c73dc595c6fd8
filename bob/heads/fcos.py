"""The head `fcos` as data. No torch: planning reads this."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bob.core.errors import ConfigError
from bob.heads.head_registry import Head

if TYPE_CHECKING:
    from bob.heads.detector_options import DetectorOptions

GROUPS = 32  # of the group norms in torchvision's FCOS towers


def check(options: DetectorOptions) -> None:
    """Raise ConfigError for channels that the towers' group norms cannot divide."""
    # A group of one channel on a map of one cell has nothing to normalise: torch refuses it.
    if options.channels % GROUPS or options.channels == GROUPS:
        raise ConfigError(
            f"channels is {options.channels}: FCOS normalises {GROUPS} groups of them, so it takes multiples of "
            f"{GROUPS} from {2 * GROUPS}."
        )


HEAD = Head(
    name="fcos",
    produces="boxes",
    doc="FCOS (Tian et al. 2019, arXiv 1904.01355): dense boxes from points, without anchors",
    build="bob.heads.detection_one_stage:fcos",
    gmacs_per_mpixel=140.0,
    extra_levels="convs",
    check=check,
)
