"""What a report says, as data: boards, their entries, the overall table, coverage."""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from bob.jobs.cost_columns import PROFILE_TIMES
from bob.jobs.profiles import is_disturbed
from bob.jobs.row import BY_NAME

LATENCY = "latency_ms_b1_p50"
LATENCY_LOW, LATENCY_HIGH = "latency_ms_b1_low", "latency_ms_b1_high"
# The numbers of a profile: from one each, never a mean over several.
PROFILED = tuple(name for name in PROFILE_TIMES if BY_NAME[name].dtype in ("float64", "int64"))
COSTS = (
    "params_m",
    "gmacs",
    "model_mb",
    *PROFILED,
    "infer_peak_mb_b1",
    "infer_peak_mb_b32",
    "train_peak_mb",
    "train_img_s",
    "train_step_batch",
    "micro_batch",
    "train_s",
    "wall_s",
    "device_hours",
)
# Beside the primary metric: what its field's papers give next to it, with the head of its column.
FURTHER = {
    "box_ap": {
        "box_ap50": "AP50",
        "box_ap75": "AP75",
        "box_ap_rare": "APr",
        "box_ap_common": "APc",
        "box_ap_frequent": "APf",
    },
    "mask_ap": {
        "mask_ap50": "AP50",
        "mask_ap_rare": "APr",
        "mask_ap_common": "APc",
        "mask_ap_frequent": "APf",
        "box_ap": "box AP",
    },
    "miou": {"pixel_accuracy": "pixel acc.", "mean_accuracy": "mean acc."},
    "auroc": {"auroc_near": "near", "auroc_far": "far", "fpr95": "FPR95", "top1": "top1"},
    "mean_accuracy": {
        "source_top1": "source",
        "corruption_accuracy": "corr.",
        "relative_drop": "rel. drop",
        "mce": "mCE",
        "effective_robustness": "eff. rob.",
    },
    "mean_box_ap": {"source_box_ap": "source AP", "relative_drop": "rel. drop"},
    "multilabel_map": {"map_voc07": "mAP VOC07", "micro_f1": "micro F1", "macro_f1": "macro F1"},
    "map": {"mrr": "MRR", "recall_at_1": "R@1"},
    "robust_accuracy": {"clean_top1": "clean"},
}
# Of a classifier, in a table of their own: how far its confidences can be trusted, before and after scaling.
CALIBRATION = {
    "ece": "ECE",
    "ece_scaled": "ECE (T)",
    "nll": "NLL",
    "nll_scaled": "NLL (T)",
    "adaptive_ece": "adapt. ECE",
    "adaptive_ece_scaled": "adapt. ECE (T)",
    "brier": "Brier",
    "brier_scaled": "Brier (T)",
    "temperature": "T",
}
CALIBRATED = "top1"  # the primary metric whose boards have that table


def further_metrics(metric: str) -> tuple[str, ...]:
    """Return the columns of rows that a board shows beside its primary metric."""
    return (*FURTHER.get(metric, {}), *(CALIBRATION if metric == CALIBRATED else ()))


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One backbone on one board.

    Attributes:
        backbone: Its name.
        is_control: Whether it is a baseline, shown without rank.
        seeds: The seeds that finished.
        score: Mean over seeds, in [0, 1].
        low: Lower end of the 95 % interval of the score over all pictures like these; None if nothing gives one.
        high: Upper end.
        seed_std: Sample standard deviation over seeds; None for one seed.
        rank: 1 for the best candidate; None for a control.
        rank_low: Best rank that it may have, all ranks right at once in 95 %; None without paired outcomes.
        rank_high: Worst rank that it may have.
        p_value: Against the best candidate, adjusted for all pairs; None without a paired test.
        tied: Whether it does not differ significantly from the best candidate; None without a test.
        above_control: Whether it scores significantly above its architecture's random initialisation; None where that
            was not tested.
        z: z-score; None where there is none.
        pareto: Whether every candidate that scores as high is slower, the intervals of the two latencies apart; False
            if its own was measured on a busy host or has no interval.
        costs: Cost columns by name, those of the best profile and means over seeds; absent where not measured.
        layer_kinds: Kinds of its layers; equal for backbones of other depth and width. None where not known.
        profile_run: The run that took its profile in turns with others; None where not known.
        profile_within: Whether its profile's intervals came within 5 %; None where not known.
        metrics: Further metrics by column name, mean over seeds; absent where a row has none.
        image_size: Side of the input in pixels.
        flags: What qualifies the number, in words.
        sheet: The job whose contact sheet shows what it predicts; None if none left one.
        job: The job of its first seed.
        is_collapsed: Whether its features are the same for every picture, so that its score says nothing of pictures.
        on_bound: Whether the temperature of any seed sits on the end of its range.
    """

    backbone: str
    is_control: bool
    seeds: tuple[int, ...]
    score: float
    low: float | None = None
    high: float | None = None
    seed_std: float | None = None
    rank: int | None = None
    rank_low: int | None = None
    rank_high: int | None = None
    p_value: float | None = None
    tied: bool | None = None
    above_control: bool | None = None
    z: float | None = None
    pareto: bool = False
    costs: dict[str, float] = field(default_factory=dict)
    layer_kinds: str | None = None
    profile_run: str | None = None
    profile_within: bool | None = None
    metrics: dict[str, float] = field(default_factory=dict)
    image_size: int | None = None
    flags: tuple[str, ...] = ()
    sheet: str | None = None
    job: str | None = None
    is_collapsed: bool = False
    on_bound: bool = False

    @property
    def is_busy(self) -> bool:
        """Whether others used the host while it was profiled, so that its latency is too long to be compared."""
        return LATENCY in self.costs and is_disturbed(self.costs)

    @property
    def fair_latency_ms(self) -> float:
        """Median latency at batch 1, in ms; NaN where none was measured on a quiet host."""
        return math.nan if self.is_busy else self.costs.get(LATENCY, math.nan)

    @property
    def latency_interval(self) -> tuple[float, float]:
        """Interval of that latency, which two of must be apart before one is called faster; NaN where there is none."""
        if math.isnan(self.fair_latency_ms):
            return math.nan, math.nan
        return self.costs.get(LATENCY_LOW, math.nan), self.costs.get(LATENCY_HIGH, math.nan)


class TrainingNoise(enum.Enum):
    """What a board's intervals and its test know of the noise of training."""

    NONE = "nothing is trained"
    COVERED = "every candidate has several seeds"
    POOLED = "candidates of one seed borrow the spread over seeds of the others"
    UNKNOWN = "a candidate has one seed, and no spread over seeds is known"


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """The differences between a board's candidates.

    Attributes:
        test: The test in words, or why there is none.
        noise: What is known of the noise of training.
        names: The candidates that were compared; empty without a test.
        p_values: (names, names), adjusted for all pairs.
    """

    test: str = ""
    noise: TrainingNoise = TrainingNoise.NONE
    names: tuple[str, ...] = ()
    p_values: NDArray[np.float64] = field(default_factory=lambda: np.empty((0, 0)))

    def p_value(self, first: str, second: str) -> float:
        """Return the p-value of "these two score the same"."""
        return float(self.p_values[self.names.index(first), self.names.index(second)])


@dataclass(frozen=True, kw_only=True)
class Board:
    """The ranking of one task, data set and protocol.

    Attributes:
        task: Its task.
        dataset: Its data set.
        protocol: Its protocol.
        variant: The parameters or budget that tell it from other boards of the same three; empty if alone.
        metric: The primary metric's name.
        entries: Candidates by rank, then controls by score.
        circumstances: What holds for every row ("budget", "precision", "device", ...), as text by name.
        notes: What a reader must know about the numbers.
        z_reason: Why there is no z-score; None if there is one.
        comparison: What may be said of the differences between its candidates.
        smoke: Whether its data only prove that the software runs.
        test_pictures: Test pictures of its data set, the fewest of any row; None where no row says.
        samples: Test samples that the paired outcomes are of; 0 without them.
    """

    task: str
    dataset: str
    protocol: str
    variant: str = ""
    metric: str
    entries: tuple[Entry, ...]
    circumstances: dict[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    z_reason: str | None = None
    comparison: Comparison = field(default_factory=Comparison)
    smoke: bool = False
    test_pictures: int | None = None
    samples: int = 0

    @property
    def name(self) -> str:
        """The board's title."""
        return " / ".join(part for part in (self.task, self.dataset, self.protocol, self.variant) if part)

    @property
    def measured_at(self) -> str:
        """Resolution, precision, device and threads of the cost figures, in words."""
        forms = {
            "profile input, px": "{} px",
            "profile precision": "{}",
            "profile device": "{}",
            "profile threads": "{} threads",
        }
        if "thread" in self.circumstances.get("profile device", ""):
            del forms["profile threads"]  # a CPU's name in a profile counts them already
        said = [form.format(self.circumstances[name]) for name, form in forms.items() if name in self.circumstances]
        return ", ".join(said) or "circumstances not recorded"

    @property
    def test(self) -> str:
        """The test of its differences in words, or why there is none."""
        return self.comparison.test

    @property
    def not_above_control(self) -> tuple[str, ...]:
        """Candidates that do not score significantly above the random initialisation of their architecture."""
        return tuple(entry.backbone for entry in self.entries if entry.above_control is False)

    @property
    def candidates(self) -> tuple[Entry, ...]:
        """The entries that have a rank."""
        return tuple(entry for entry in self.entries if not entry.is_control)


@dataclass(frozen=True, kw_only=True)
class OverallEntry:
    """One candidate over all boards.

    Attributes:
        backbone: Its name.
        boards: On how many boards it has every seed.
        of: How many boards there are.
        mean_z: Mean z-score over all boards; None unless it has them all and each has z-scores.
        mean_rank: Mean rank among the candidates that have all boards; None unless it is one of them.
    """

    backbone: str
    boards: int
    of: int
    mean_z: float | None
    mean_rank: float | None


@dataclass(frozen=True, kw_only=True)
class Reason:
    """One reason why jobs have no score.

    Attributes:
        status: Their status.
        what: The error in one line.
        action: What to do about it.
        jobs: How many jobs.
        backbones: Their backbones, sorted.
    """

    status: str
    what: str
    action: str
    jobs: int
    backbones: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Coverage:
    """How much of what was asked for is there.

    Attributes:
        counts: Jobs by status; "not run" are planned ones without a row.
        reasons: Why jobs have no score, the most frequent first.
        damaged: Files of the store that were set aside, with their reasons.
    """

    counts: dict[str, int]
    reasons: tuple[Reason, ...] = ()
    damaged: dict[str, str] = field(default_factory=dict)
