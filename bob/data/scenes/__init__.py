"""The embedded data set ``scenes-1``: cluttered pictures rendered from a seed, with every label a vision task needs.

Numpy and Pillow only. What a scene holds depends on (version, split, index) alone. Numbers on it are smoke data: they
say that the software works, not which backbone to choose.
"""

from __future__ import annotations

from bob.data.scenes.compose import SIZE, VERSION, Scene, label_of, render
from bob.data.scenes.domains import DOMAINS
from bob.data.scenes.shapes import CLASSES, UNSEEN_CLASSES

__all__ = ["CLASSES", "DOMAINS", "SIZE", "UNSEEN_CLASSES", "VERSION", "Scene", "label_of", "render"]
