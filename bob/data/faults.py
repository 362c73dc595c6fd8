"""What can be wrong with an annotation: named, counted, and either left out or put right. Imports nothing heavy."""

from __future__ import annotations

from typing import NamedTuple

NO_PICTURE = -1

# What a fault does: the annotation is left out; it is left out where masks are asked for (its box is good); it is kept
# in a repaired form; or it is told alone, as nothing is wrong: a part of a data set was downloaded, say.
LEFT_OUT, NO_MASK, REPAIRED, NOTED = "left out", "no mask", "repaired", "noted"


class Fault(NamedTuple):
    """One thing that is wrong.

    Attributes:
        reason: What, in words that are the same for every annotation with this fault.
        where: The file and the id.
        picture: The index of the picture in its stored split; NO_PICTURE if it belongs to none.
        effect: LEFT_OUT, NO_MASK, REPAIRED or NOTED.
    """

    reason: str
    where: str
    picture: int = NO_PICTURE
    effect: str = LEFT_OUT
