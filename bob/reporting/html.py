"""The report as one HTML page that needs no other file and no network."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2

from bob.reporting.tables import Table

HOW_TO_READ = (
    "Score: mean over seeds of the primary metric on the test split, which is scored once. Interval: 95 % for the "
    "score over all pictures like the test set's, not over another test set of its size; overlapping intervals are no "
    "test. Ranks: those that a backbone may have, given which pairs differ significantly; all are right at once "
    "in 95 %. Tie: the score does not differ significantly from the best one's; all pairs are tested at once, so the "
    "choice of the best is paid for. With several seeds, intervals and test count the seeds too. z: (score - mean) / "
    "standard deviation of the suite's reference set, the same backbones on every board; it depends on who is in that "
    "set. Controls are baselines: they have no rank and enter no mean. A score that is no mean over test pictures (AP, "
    "mIoU, AUROC, a mean over shifts) is computed anew on each resampled test set, the same sets for every backbone. "
    "Calibration: whether a classifier is right as often as it is sure, before and after its logits are divided by one "
    "temperature chosen on val."
)


@dataclass(frozen=True)
class Plot:
    """A picture and what it shows, in words."""

    alt: str
    png: bytes

    @property
    def data(self) -> str:
        """The picture in base64."""
        return base64.b64encode(self.png).decode()


@dataclass(frozen=True)
class Figure:
    """A picture with a line below it."""

    plot: Plot
    caption: str


@dataclass(frozen=True, kw_only=True)
class Section:
    """What the page says about one board."""

    name: str
    answer: str
    scores: Table
    costs: Table | None
    calibration: Table | None
    plots: Sequence[Plot]
    sheets: Sequence[Figure]
    sheet_notes: Sequence[str]
    circumstances: Mapping[str, str]


def render_page(**content: Any) -> str:
    """Fill page.html; every text is escaped, so that a name with markup in it stays a name."""
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    template = environment.from_string(Path(__file__).with_name("page.html").read_text(encoding="utf-8"))
    return template.render(how_to_read=HOW_TO_READ, **content)
