"""The report as files and on a terminal: complete, inert, readable, helpful when there is nothing to rank."""

from __future__ import annotations

import html.parser
import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from report_samples import BACKBONES, REFERENCE, sample_results, sample_row
from rich.console import Console

from bob.core.errors import BobError, StoreError
from bob.reporting.build import SMOKE_BANNER, Report, build_report
from bob.reporting.plots import spread
from bob.reporting.text_report import ranking_csv
from bob.store import ResultStore

NAMES = [name for name, *_ in BACKBONES]
EVIL = "evil<script>alert(1)</script>|**b**[red]\"'$x$ {{7*7}}"


def _fill(folder: Path, **changes: Any) -> ResultStore:
    store = ResultStore(folder)
    for row, outcomes in sample_results(**changes):
        store.append(row, outcomes)
    return store


def _build(folder: Path, **changes: Any) -> Report:
    asked: dict[str, Any] = {"suite": "sample", "reference": REFERENCE, "expected": None, "out_dir": folder / "report"}
    return build_report(folder, **{**asked, **changes})


def _printed(report: Report, width: int) -> str:
    out = io.StringIO()
    report.print(Console(file=out, width=width, force_terminal=False))
    return out.getvalue()


class _Page(html.parser.HTMLParser):
    """Collects tags, attributes and text of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [value or "" for name, value in attrs if name in ("src", "href", "action")]

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Report:
    folder = tmp_path_factory.mktemp("results")
    _fill(folder, protocols=("linear", "knn"))
    return _build(folder)


def test_every_file_is_written_and_named(built: Report) -> None:
    assert {"index.html", "ranking.csv", "ranking.md"} < set(built.files)
    pictures = [path for name, path in built.files.items() if name.endswith(".png")]
    assert len(pictures) == 4
    for path in pictures:
        with Image.open(path) as picture:
            assert picture.width > 800 and len(np.unique(np.asarray(picture))) > 20


def test_page_stands_alone_and_names_everybody(built: Report) -> None:
    page = _Page(built.files["index.html"].read_text())
    assert all(link.startswith(("data:image/png;base64,", "#")) for link in page.links)
    assert page.tags.count("img") == 4 and "link" not in page.tags and page.tags.count("script") == 1
    for name in NAMES:
        assert name in page.text
    assert "train=400 trials=3" in page.text and "2-core CPU" in page.text and "torch 2.9.0" in page.text
    assert "prefers-color-scheme: dark" in built.files["index.html"].read_text()


def test_csv_has_every_figure_and_plain_pandas_reads_it(built: Report) -> None:
    frame = pd.read_csv(built.files["ranking.csv"])
    assert len(frame) == 2 * len(NAMES) and frame["protocol"].nunique() == 2
    best = frame[(frame["protocol"] == "linear") & (frame["rank"] == 1)].iloc[0]
    assert best["backbone"] == NAMES[0] and best["throughput_batch"] == 16 and best["circumstance: precision"] == "fp32"
    entry = next(board for board in built.boards if board.protocol == "linear").entries[0]
    assert best["z"] == entry.z and best["score"] == entry.score
    assert frame[frame["is_control"]]["rank"].isna().all()
    assert ranking_csv([]).count("\n") == 1


@pytest.mark.parametrize("width", [80, 100, 140])
def test_no_line_is_wider_than_the_terminal_and_no_name_or_score_is_cut(built: Report, width: int) -> None:
    lines = _printed(built, width).splitlines()
    assert max(len(line.rstrip()) for line in lines[:-1]) <= width
    head = next(line for line in lines if line.startswith("rank"))
    column = slice(head.index("backbone"), head.index("top1"))
    # A long name may go on in the next line, so the column is read without its breaks.
    named = "".join(line[column].strip().partition(" ")[0] for line in lines)
    assert all(name in named for name in NAMES)
    assert "…" not in "".join(lines)
    for entry in built.boards[0].entries:
        assert f"{entry.score:.3f}" in "".join(lines)
    assert "Overall" in "".join(lines) and "2/2" in "".join(lines)


def test_cost_figures_stand_with_batch_resolution_precision_and_device(built: Report) -> None:
    text = " ".join(_printed(built, 100).split())
    assert "Measured at 128 px, fp32, 2-core CPU, 2 threads; ms: batch 1; img/s and MB: at the batch after @" in text
    assert "@16" in text


def test_training_rate_stands_with_the_batch_it_was_measured_at(tmp_path: Path) -> None:
    store = ResultStore(tmp_path)
    store.append(sample_row(NAMES[0], train_img_s=11.0))
    store.append(sample_row(NAMES[1], train_img_s=12.0, micro_batch=4))
    table = next(table for table in _build(tmp_path).tables if table.title.endswith("cost"))
    column = next(i for i, head in enumerate(table.heads) if head.title.startswith("train"))
    assert [row[column].text for row in table.rows] == ["11 @32", "12 @4"]


def test_report_and_store_import_no_torch(tmp_path: Path) -> None:
    _fill(tmp_path)
    code = (
        "import sys; from pathlib import Path; folder = Path(sys.argv[1]);"
        "from bob.reporting.build import build_report;"
        "build_report(folder, suite=None, reference=None, expected=None, out_dir=folder / 'report');"
        "print(*sys.modules)"
    )
    ran = subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True, capture_output=True, text=True)
    imported = set(ran.stdout.split())
    assert "pandas" in imported, "the output is the list of modules"
    assert not imported & {"torch", "timm", "torchvision", "matplotlib.pyplot"}


def test_names_and_messages_with_markup_stay_text(tmp_path: Path) -> None:
    store = _fill(tmp_path)
    store.append({**sample_row(NAMES[0]), "backbone": EVIL, "job_id": "evil01", "data_overlap": EVIL})
    failed = {"status": "failed", "score": None, "error_class": "X", "error_message": EVIL, "job_id": "evil02"}
    store.append({**sample_row(NAMES[1]), **failed, "backbone": EVIL, "dataset": EVIL})
    report = _build(tmp_path)
    page = _Page(report.files["index.html"].read_text())
    assert page.tags.count("script") == 1 and page.text.count(EVIL) >= 4
    assert "[red]" in _printed(report, 140)
    rows = [line for line in report.files["ranking.md"].read_text().splitlines() if "evil" in line and line[0] == "|"]
    assert rows and all("<script>" not in line.replace("\\<", "") for line in rows)
    heads = report.files["ranking.md"].read_text().splitlines()
    width = next(line for line in heads if line.startswith("| rank")).count("|")
    assert rows[0].replace("\\|", "").count("|") == width
    assert EVIL in set(pd.read_csv(report.files["ranking.csv"])["backbone"])


def test_smoke_data_are_announced_everywhere(tmp_path: Path) -> None:
    _fill(tmp_path, smoke=True)
    report = _build(tmp_path)
    for text in (_printed(report, 80), report.files["index.html"].read_text(), report.files["ranking.md"].read_text()):
        assert SMOKE_BANNER in text


def test_overlap_of_pretraining_and_test_data_is_flagged_at_the_row(tmp_path: Path) -> None:
    store = ResultStore(tmp_path)
    for row, outcomes in sample_results():
        overlap = {"data_overlap": "ImageNet-1k holds it"} if row["backbone"] == NAMES[3] else {}
        store.append({**row, **overlap}, outcomes)
    text = _printed(_build(tmp_path), 100)
    assert "a: pretraining saw test pictures: ImageNet-1k holds it." in text
    assert next(line for line in text.splitlines() if NAMES[3] in line).rstrip().endswith(" a")


def test_empty_store_gives_a_page_that_says_what_to_do(tmp_path: Path) -> None:
    report = _build(tmp_path)
    assert report.boards == () and "bob run SUITE" in _printed(report, 80)
    assert "bob run SUITE" in _Page(report.files["index.html"].read_text()).text


def test_store_with_skipped_rows_only_groups_the_reasons(tmp_path: Path) -> None:
    store = ResultStore(tmp_path)
    for name in NAMES:
        why = {"error_class": "WeightsMissingError", "error_message": f"'{name}' is in no source\n  bob fetch sample"}
        store.append({**sample_row(name), "status": "skipped", "score": None, **why})
    report = _build(tmp_path)
    text = " ".join(_printed(report, 100).split())
    assert "nothing to rank" in text and "8 jobs: 8 skipped" in text
    assert len(report.coverage.reasons) == 1 and report.coverage.reasons[0].jobs == 8
    assert "'bob fetch SUITE'" in report.coverage.reasons[0].action


def test_folder_that_is_not_there_is_an_error_with_the_next_step(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="bob run SUITE"):
        _build(tmp_path / "nowhere")


def test_plan_leaves_out_older_rows_and_counts_what_is_not_run(tmp_path: Path) -> None:
    store = _fill(tmp_path)
    store.append({**sample_row(NAMES[0], budget="train=9"), "job_id": "old1"})
    with pytest.raises(BobError, match="budget"):
        _build(tmp_path)
    plan = [{"job_id": row["job_id"], "backbone": row["backbone"]} for row, _ in sample_results()]
    report = _build(tmp_path, expected=[*plan, {"job_id": "new1", "backbone": "new"}])
    assert report.coverage.counts == {"ok": 8, "not run": 1}
    assert "mixed rows" in " ".join(_build(tmp_path, mix=True).banners)


def test_a_reason_and_what_to_do_about_it_end_in_one_period_each(tmp_path: Path) -> None:
    said = {"error_class": "BobError", "error_message": "the file has no class.\n       Give it one."}
    ResultStore(tmp_path).append({**sample_row(NAMES[0]), "status": "failed", "score": None, **said})
    assert "BobError: the file has no class. Next: Give it one. Backbones: " in _printed(_build(tmp_path), 400)


def test_damaged_files_are_reported(tmp_path: Path) -> None:
    store = _fill(tmp_path)
    path = sorted(store.layout.records.rglob("*.json"))[0]
    path.write_text("{")
    text = _printed(_build(tmp_path), 80)
    assert "damaged, set aside" in text and path.name in text.replace("\n", "")


def test_one_backbone_alone_makes_a_report(tmp_path: Path) -> None:
    ResultStore(tmp_path).append(sample_row(NAMES[0]))
    report = _build(tmp_path)
    assert report.boards[0].entries[0].rank == 1 and "only candidate" in report.answers[0]


def test_row_without_cost_or_interval_makes_a_report(tmp_path: Path) -> None:
    bare = {"task": "classification", "dataset": "d", "protocol": "linear", "seed": 0, "status": "ok", "metric": "top1"}
    for index, name in enumerate(("a.x", "b.y")):
        ResultStore(tmp_path).append({**bare, "job_id": f"aa{index}", "backbone": name, "score": 0.5 + index / 10})
    report = _build(tmp_path, suite=None)
    assert [entry.backbone for entry in report.boards[0].entries] == ["b.y", "a.x"]
    assert len(report.tables) == 1 and not any("latency" in name for name in report.files)


@pytest.mark.parametrize("seed", range(20))
def test_labels_are_spread_apart_in_order_and_stay_near_their_points(seed: int) -> None:
    generator = np.random.default_rng(seed)
    wanted = np.sort(generator.random(30) ** 3)
    places = spread(wanted, 0.03)
    assert np.all(np.diff(places) >= 0.03 - 1e-9)
    far = np.array([0.0, 0.5, 1.0])
    np.testing.assert_allclose(spread(far, 0.1), far)
    # No other feasible placement is nearer in the sum of squares: small feasible moves only make it worse.
    for _ in range(50):
        moved = np.sort(places + generator.normal(0, 0.01, 30))
        if np.all(np.diff(moved) >= 0.03):
            assert np.sum((moved - wanted) ** 2) >= np.sum((places - wanted) ** 2) - 1e-9


def test_report_is_plain_json_for_other_programs(built: Report) -> None:
    rows = json.loads(pd.read_csv(built.files["ranking.csv"]).to_json(orient="records"))
    assert {row["backbone"] for row in rows} == set(NAMES)
