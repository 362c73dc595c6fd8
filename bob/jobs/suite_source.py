"""What of a suite depends on where it was read: the place that an error names, and plug-ins beside its file."""

from __future__ import annotations

from pathlib import Path

from bob.core.errors import BobError, DataMissingError, SuiteError
from bob.core.plugins import load_plugin
from bob.core.yaml_source import YamlSource
from bob.jobs.suite import Suite


class located_at:
    """Put ``file:line`` before the message of an error about a name that stands there."""

    def __init__(self, source: YamlSource, *path: str | int) -> None:
        self._source, self._path = source, path

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if not isinstance(error, BobError) or isinstance(error, SuiteError | DataMissingError):
            return
        raise SuiteError(f"{self._source.at(self._path)}{error.message}", hint=error.hint) from error


def with_plugins(suite: Suite, source: YamlSource) -> Suite:
    """Load a suite's plug-ins and return it with their full paths.

    Raises:
        SuiteError: One is not there, fails, or registers nothing; with file and line.
    """
    paths = [str(_beside(source, plugin)) for plugin in suite.plugins]
    for index, path in enumerate(paths):
        with located_at(source, "plugins", index):
            load_plugin(path)
    return suite.model_copy(update={"plugins": paths})


def _beside(source: YamlSource, plugin: str) -> Path:
    """Return a plug-in's path: relative to the suite file's folder, as a reader of the file would take it."""
    path = Path(plugin).expanduser()
    return path if path.is_absolute() else (Path(source.name).parent / path).absolute()
