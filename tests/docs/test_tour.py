"""The notebook docs/tour.ipynb runs from top to bottom, as a user's kernel runs it."""

from __future__ import annotations

import nbformat
import pytest
from nbclient import NotebookClient
from places import REPOSITORY


@pytest.mark.slow
def test_the_tour_runs_and_ends_with_a_figure(tmp_path):
    notebook = nbformat.read(REPOSITORY / "docs" / "tour.ipynb", as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells), "outputs are not kept: they would grow old"
    NotebookClient(notebook, timeout=600, kernel_name="python3", resources={"metadata": {"path": tmp_path}}).execute()
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    shown = {kind for output in outputs for kind in output.get("data", {})}
    assert "application/vnd.jupyter.widget-view+json" in shown, "the progress is drawn in the notebook"
    assert any("image/png" in output.get("data", {}) for output in outputs)
