"""Names and errors that attack whoever reads a report: as HTML, Markdown, CSV or on a terminal they stay text."""

from __future__ import annotations

import csv
import html.parser
import io
import json
import logging
import re
import warnings

import pytest
from places import REPOSITORY
from report_samples import BACKBONES, sample_outcomes, sample_row
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from bob.cli import main
from bob.core.terminal import Terminal
from bob.core.text import VisibleFormatter, visible
from bob.reporting.build import build_report
from bob.reporting.tables import Cell, Head
from bob.reporting.tables import Table as ReportTable
from bob.reporting.text_report import markdown_table, ranking_csv
from bob.store import ResultStore

NAMES = [name for name, *_ in BACKBONES]
ATTACKS = (
    "</title></style></script><script>alert(1)</script>",
    "\"><img src=x onerror=alert(1)>",
    "' onmouseover='alert(1)",
    "<svg/onload=alert(1)>",
    "<!--<iframe src=//evil.example>-->",
    "]]><b>",
    "{{ 7*7 }}{% for x in y %}",
    "javascript:alert(1)",
    "&lt;b&gt;&amp;",
    "\u2028alert(1)\u202e",
    "[link=https://evil.example]click[/link][/][/bold]",
    "\x1b]8;;https://evil.example\x07click\x1b]8;;\x07\x1b[2J\x1b[1A\r\x08\x9b2J\x7f",
    "![x](https://evil.example/x.png)|a|b\n# head\n<b>",
    "=HYPERLINK(\"https://evil.example\",\"click\")",
    "@SUM(1+1)*cmd|' /C calc'!A0",
)  # fmt: skip
REPORT_JSON = pytest.param(["report", "--json"], marks=pytest.mark.slow)
TEXTS = (
    "backbone",
    "dataset",
    "data_overlap",
    "device",
    "budget",
    "hardware_class",
    "others",
    "error_message",
    "metric",
)
# What only the page itself may hold, whatever the rows say.
PLAIN = ("html", "head", "meta", "title", "style", "body", "header", "h1", "h2", "h3", "p", "nav", "a", "main", "div")
PLAIN += ("table", "thead", "tbody", "tr", "th", "td", "button", "img", "figure", "figcaption", "dl", "dt", "dd", "ul")
ATTRIBUTES = {"lang", "charset", "name", "content", "class", "href", "id", "role", "scope", "title", "type", "data-v"}
ATTRIBUTES |= {"alt", "src"}


class _Page(html.parser.HTMLParser):
    """Collects the tags, attributes and scripts of a page as a browser would find them."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.comments: list[str] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_comment(self, data: str) -> None:
        self.comments.append(data)

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """A results folder in which every text of every second row is an attack; its report is written."""
    folder = tmp_path_factory.mktemp("hostile")
    store = ResultStore(folder)
    for number, attack in enumerate(ATTACKS):
        honest = sample_row(NAMES[number % 7], job_id=f"bb{number:02d}", dataset=attack, metric=attack)
        store.append(honest, sample_outcomes(0.8))
        evil = {**honest, **dict.fromkeys(TEXTS, attack), "job_id": f"aa{number:02d}", "cell": f"c{number}"}
        store.append({**evil, attack: attack}, sample_outcomes(0.7, seed=1))
        failed = {"status": "failed", "score": None, "score_low": None, "score_high": None, "error_class": attack}
        store.append({**evil, **failed, "job_id": f"cc{number:02d}", "cell": f"d{number}"})
    (folder / "damaged").mkdir()
    (folder / "damaged" / "[link=x]<b>\x1b[2J.json").write_text("")
    (folder / "damaged" / "[link=x]<b>\x1b[2J.json.reason").write_text("<script>\x1b[2J</script>")
    with warnings.catch_warnings():
        # matplotlib warns of a character that it cannot draw by printing it.
        warnings.filterwarnings("error", message=r"Glyph (\d|1\d|2\d|3[01]|127) ")
        build_report(folder, suite=None, reference=None, expected=None, out_dir=folder / "report" / "all", mix=True)
    return folder


def test_the_page_holds_no_tag_attribute_or_script_that_is_not_its_own(results):
    text = (results / "report" / "all" / "index.html").read_text()
    page = _Page(text)
    assert set(page.tags) <= {*PLAIN, "script", "li"} and page.tags.count("script") == 1 and page.comments == []
    assert {name for name, _ in page.attributes} <= ATTRIBUTES
    for name, value in page.attributes:
        if name == "href":
            assert re.fullmatch(r"#b\d+", value)
        if name == "src":
            assert re.fullmatch(r"data:image/png;base64,[A-Za-z0-9+/=]+", value)
    [script] = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    assert script == re.findall(r"<script>(.*?)</script>", _template(), re.DOTALL)[0]
    shown = " ".join(page.text.split())
    assert all(" ".join(attack.split()) in shown for attack in ATTACKS)


def _template() -> str:
    return (REPOSITORY / "bob" / "reporting" / "page.html").read_text()


def test_the_reports_files_have_plain_names_and_lie_in_its_folder(results):
    folder = results / "report" / "all"
    names = [path.relative_to(folder).as_posix() for path in folder.rglob("*")]
    assert len(names) > 10 and all(re.fullmatch(r"[A-Za-z0-9_-]+\.(png|csv|md|html)", name) for name in names)
    assert {path.name for path in results.iterdir()} <= {"claims", "damaged", "leases", "outcomes", "records"} | {
        "report",
        "results.parquet",
    }


def test_no_cell_of_the_csv_is_a_formula_and_no_line_obeys_a_terminal(results):
    text = (results / "report" / "all" / "ranking.csv").read_text()
    cells = [cell for row in csv.reader(io.StringIO(text)) for cell in row]
    assert sum("HYPERLINK" in cell for cell in cells) >= 2
    for cell in cells:
        assert not cell.lstrip().startswith(("=", "+", "@", "\t", "\r")) and not re.match(r"\s*-(?![\d.]+)", cell)
    assert not _controls(text)
    assert not _controls((results / "report" / "all" / "ranking.md").read_text())


def test_a_number_in_the_csv_stays_a_number():
    assert ranking_csv([]).startswith("task,dataset,")
    from bob.reporting.text_report import _no_formula

    assert [_no_formula(cell) for cell in (-0.5, None, True, "-0.5", "+1e-3")] == [-0.5, None, True, "-0.5", "+1e-3"]
    assert [_no_formula(cell) for cell in ("-1+2", " =1", "＝1")] == ["'-1+2", "' =1", "'＝1"]


def test_a_name_cannot_break_a_markdown_table_or_become_markup(results):
    for attack in ATTACKS:
        table = ReportTable("t", (Head("name"),), ((Cell(attack),),))
        lines = markdown_table(table).splitlines()
        assert len(lines) == 5 and lines[4].replace("\\|", "").count("|") == 2
        assert not re.search(r"(?<!\\)[<>\[\]`*_#]", lines[4])


def _controls(text: str) -> set[str]:
    return set(re.findall(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", text))


@pytest.mark.parametrize("command", [["report"], ["status"], ["show", "aa11"], ["show", "cc11"], REPORT_JSON])
def test_no_command_sends_a_terminal_code_or_markup_from_a_row(results, capsys, command):
    mix = ["--mix"] if command[0] == "report" else []
    assert main([*command, *mix, "--results", str(results)]) == 0
    told = capsys.readouterr()
    assert not _controls(told.out) and not _controls(told.err)
    if command[0] == "show":
        assert "\\x1b]8;;https://evil.example" in told.out.replace("\n", "")
    if command[-1] == "--json":
        json.loads(told.out)


def test_every_kind_of_rich_output_is_made_visible():
    out = io.StringIO()
    terminal = Terminal(file=out, width=200, force_terminal=True, color_system=None)
    table = Table("head\x1b[2J", title="t\x1b[2J")
    table.add_row("cell\x1b[2J", Text("text\x1b[2J"))
    for thing in ("plain\x1b[2J", escape("esc\x1b[2J"), Text("text\x9b2J"), table, "a\rb", "\ud800"):
        terminal.print(thing, highlight=False)
    assert not _controls(out.getvalue()) and out.getvalue().count("\\x1b[2J") >= 5 and "\\ud800" in out.getvalue()
    terminal.print("[bold]x[/]", highlight=False)
    Terminal(file=out, force_terminal=True).print("[link=https://bob.example][red]ours[/]", highlight=False)
    assert "\x1b[" in out.getvalue(), "BoB's own styles are kept"


def test_log_lines_are_made_visible():
    record = logging.LogRecord("x", logging.WARNING, "", 0, "bad picture %s", ("\x1b[2J\r.jpg",), None)
    assert VisibleFormatter().format(record) == "bad picture \\x1b[2J\\r.jpg"
    assert visible("tab\tline\nplain ü – 数") == "tab\tline\nplain ü – 数"


def test_a_hostile_suite_title_and_data_folder_stay_text_in_a_plan(tmp_path, capsys):
    from data_helpers import class_folders

    root = class_folders(tmp_path / "[bold]\x1b[2J<b>", {"a\x1b[2J": 12, "b": 12})
    suite = tmp_path / "s.yaml"
    suite.write_text(
        'name: s\ntitle: "[/][link=x]\\e[2J"\nbackbones: [resnet18.random]\n'
        f"datasets: [{json.dumps(str(root))}]\ntasks: [{{task: classification, protocols: [knn]}}]\n"
    )
    folders = ["--cache", str(tmp_path / "cache"), "--results", str(tmp_path / "results")]
    assert main(["plan", str(suite), *folders]) == 0
    told = capsys.readouterr().out
    assert "[bold]\\x1b[2J<b>" in told and not _controls(told)


def test_the_attack_on_a_terminal_works_on_a_console_that_trusts():
    from rich.console import Console

    out = io.StringIO()
    Console(file=out, width=80).print("\x1b[2J")
    assert "\x1b[2J" in out.getvalue()
