"""The errors a user can cause or meet. Each names the value, what was expected, and the next command."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

# A sentence's end, then the period of the sentence that it was put into. Not "...", and not the folder "..".
_SECOND_PERIOD = re.compile(r"(?<![./\s])([.?!])\.(?=\s|$)")


class BobError(Exception):
    """A user's mistake or a stated limit: the command line prints it without a traceback.

    Args:
        message: What was wrong: the value and what was expected.
        hint: The next command or step, printed on a line of its own.
    """

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        self.message = one_period(message)
        self.hint = None if hint is None else one_period(hint)
        super().__init__(self.message)

    def __str__(self) -> str:
        return self.message if self.hint is None else f"{self.message}\n       {self.hint}"

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        """Keep the hint when the error crosses a process border."""
        return (_rebuild, (type(self), self.message, self.hint))


class UnknownNameError(BobError):
    """A name that no registry, file or schema has."""


class SuiteError(BobError):
    """A suite file that does not say something valid; the message starts with ``file:line``."""


class WeightsError(BobError):
    """A checkpoint that is corrupt, of another shape, or not what its name says."""


class WeightsMissingError(WeightsError):
    """A checkpoint that no weights source has: its jobs are skipped, never trained from random."""


class DataError(BobError):
    """A data set or a picture in it that cannot be used."""


class DataTooSmallError(BobError):
    """A data set is here, and has too few pictures for what is asked of it."""


class DataMissingError(DataError):
    """A data set that is not on this machine: its jobs are skipped with the reason."""


class ConfigError(BobError):
    """A setting or a protocol parameter outside what it may be."""


class StoreError(BobError):
    """A results folder that cannot be written, or was written under a newer schema."""


class NumericalError(BobError):
    """A loss or a score that is not finite: the job fails, and no number of it is kept."""


class OutOfMemoryError(BobError):
    """Memory ran out even at the smallest micro-batch."""


def _rebuild(kind: type[BobError], message: str, hint: str | None) -> BobError:
    return kind(message, hint=hint)


def one_period(text: str) -> str:
    """Return a text without the second period of ``f"It failed: {error}."``, where the error ends in one itself."""
    return _SECOND_PERIOD.sub(r"\1", text)


def did_you_mean(value: str, known: Iterable[str]) -> str:
    """Return `` Did you mean 'x'?`` for the closest known name, or an empty string."""
    close = difflib.get_close_matches(value, list(known), n=1, cutoff=0.6)
    return f" Did you mean {close[0]!r}?" if close else ""


def unknown_name(kind: str, value: str, known: Iterable[str], *, hint: str | None = None) -> UnknownNameError:
    """Build the error for a name that is not registered, with the closest one that is."""
    return UnknownNameError(f"{kind} {value!r} is not known.{did_you_mean(value, known)}", hint=hint)
