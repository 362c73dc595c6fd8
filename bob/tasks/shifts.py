"""Whether the shifted data sets of a job go with its own, said before anything is trained. No torch."""

from __future__ import annotations

from collections.abc import Sequence

from bob.core.errors import DataError
from bob.data.class_map import class_places
from bob.data.pictures import known_of, meaning
from bob.jobs.job import Job


def check_shifts(job: Job, source: Sequence[str], annotations: Sequence[str]) -> None:
    """Check every shift that is on this machine.

    Args:
        job: Whose shifts.
        source: The class names that its model knows.
        annotations: One of these must be known about a shift's pictures.

    Raises:
        DataError: A shift has none of the annotations, or a class that the model does not know.
    """
    for other in job.others:
        if other.spec is None:
            continue
        if not set(annotations) & set(other.spec.annotations):
            raise DataError(
                f"shift {other.text!r} has {known_of(other.spec)} for each picture: "
                f"expected {meaning(annotations[0])}.",
                hint="docs/data.md shows the layouts that each task reads.",
            )
        try:
            class_places(source, other.spec.classes)
        except DataError as error:
            raise DataError(f"shift {other.text!r} of {job.dataset!r}: {error.message}", hint=error.hint) from error
