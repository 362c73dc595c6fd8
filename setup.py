"""What pyproject.toml cannot say: a wheel brings the suites along, which lie beside the package and not inside it."""

from __future__ import annotations

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

SUITES = Path("suites")


class BuildWithSuites(build_py):
    """Copies ``suites/`` into the package where it is built; an editable installation reads the checkout's."""

    def run(self) -> None:
        """Build the package, then add the suites."""
        super().run()
        if self.editable_mode:
            return
        target = Path(self.build_lib) / "bob" / SUITES
        target.mkdir(parents=True, exist_ok=True)
        for path in sorted(SUITES.iterdir()):
            shutil.copy2(path, target / path.name)


setup(cmdclass={"build_py": BuildWithSuites})
