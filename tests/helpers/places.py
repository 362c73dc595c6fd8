"""Where the checkout and the helpers of the tests lie."""

from __future__ import annotations

from pathlib import Path

HELPERS = Path(__file__).resolve().parent
REPOSITORY = HELPERS.parent.parent
