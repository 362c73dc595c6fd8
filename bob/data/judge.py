"""What no reader's data may be, judged after parsing by one rule for all: classes that nothing trains, empty splits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence, Set

from bob.core.errors import DataError

NAMED_AT_MOST = 10
MAX_BAD_SHARE = 0.05  # of pictures, annotations or labels; with more, the data are refused


def classes_present(present: Mapping[str, Set[int]]) -> int:
    """Return how many classes train has something of; without train, any split."""
    return len(present["train"] if "train" in present else set().union(*present.values()))


def require_distinct_names(where: str, names: Sequence[str]) -> None:
    """Refuse class names that differ in case or in spaces at their ends alone: they are one class, written twice.

    Letters are no names: A and a are two.

    Raises:
        DataError: Two names do.
    """
    first: dict[str, str] = {}
    for name in names:
        known = first.setdefault(name.strip().casefold(), name)
        if known != name and len(name.strip()) > 1:
            raise DataError(
                f"{where}: the classes {known!r} and {name!r} differ in case or in spaces alone.",
                hint="Write them alike in every file: as they are, they count as two classes.",
            )


def require_trained(
    where: str, classes: Sequence[str], present: Mapping[str, Set[int]], *, what: str, hint: str
) -> None:
    """Refuse stored splits that have classes of which train has nothing: nobody can learn them.

    Args:
        where: The data set, for the message.
        classes: Class names in label order.
        present: The labels that each stored split has; without "train" nothing is asked for.
        what: "picture", "object" or "mask".
        hint: What to do.

    Raises:
        DataError: A class of another split is missing in train.
    """
    if "train" not in present:
        return
    for split, labels in present.items():
        lacking = sorted(classes[label] for label in labels - present["train"])
        if lacking:
            named = ", ".join(lacking[:NAMED_AT_MOST]) + (" ..." if len(lacking) > NAMED_AT_MOST else "")
            raise DataError(f"{where}: no training {what} for the classes {named}, which {split} has.", hint=hint)


def require_objects(where: str, counts: Mapping[str, int], left_out: Mapping[str, Counter[str]]) -> None:
    """Refuse a stored split without any object to learn from or to be scored on.

    Args:
        where: The data set, for the message.
        counts: Objects of each stored split, crowds not counted.
        left_out: Why annotations of each split were left out, with how many.

    Raises:
        DataError: A split has none.
    """
    for split, count in counts.items():
        if count:
            continue
        reasons = [f"{number} with {reason}" for reason, number in left_out.get(split, Counter()).most_common(3)]
        why = f": all annotations were left out ({', '.join(reasons)})" if reasons else ": its file has no annotation"
        raise DataError(
            f"{where}: the split {split} has no object{why}.",
            hint=f"Mend the annotations, or take {split} away: another split then serves in its place.",
        )
