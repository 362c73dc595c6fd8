"""The 19 corruptions of ImageNet-C, on the fly, on 8-bit RGB pictures of any size.

What they are: Hendrycks and Dietterich, "Benchmarking Neural Network Robustness to Common Corruptions and
Perturbations", 2019 (arXiv 1903.12261; the authors' code: github.com/hendrycks/robustness). The 15 of ``BENCHMARK``
make the benchmark; the 4 of ``EXTRA`` were set aside for validation.

How they compute: as the registry package ``imagecorruptions`` 1.1.2 (Michaelis et al. 2019, arXiv 1907.07484;
github.com/bethgelab/imagecorruptions), which carried them over to pictures of any size, and its fork
``imagecorruptions-imaug`` 1.1.5, which keeps it running. The same draws in the same order give the same picture, but
for one level in fewer than one value in 10,000 (frost, defocus blur), where OpenCV's last bit decides. Where the two
packages differ, the fork is followed: fog's height map is float32, and frost chooses among all six photographs (the
older one never takes the sixth).

Kept from the reference, for better or worse:

- A picture has at least ``MIN_SIDE`` pixels a side; a smaller one is a ``DataError``.
- Strengths are in pixels of the picture as given (a blur of radius 10 is 10 pixels on any size), except for
  ``elastic_transform`` (fields of 1 % of the sides), ``zoom_blur`` and ``pixelate`` (relative by nature). The numbers
  were chosen for 224 x 224: corrupt after resizing to stay comparable.
- ``elastic_transform`` is the packages' (a local displacement); the one in the authors' script adds an affine map.
  ``pixelate`` enlarges by repeating pixels; theirs takes a box filter.
- ``zoom_blur`` and ``snow`` keep the top left corner of the enlarged layer, not its middle.
- ``glass_blur`` copies pixels where its text says swap: the reference swaps two views of one array, so that the second
  assignment reads what the first wrote. The authors' script has the same line.
- ``motion_blur`` and ``snow`` leave out the part of a trace that is longer than the picture, so that one under 41
  pixels may get slightly darker.
- ``defocus_blur`` brightens by 1 % at severities 4 and 5, since the softened disk then sums to 1.01.
- Severity is no distance: ``glass_blur`` and ``frost`` change a picture less at 4 than at 3, and ``saturate`` takes
  colour away at 1 and 2 but adds it from 3 on.
- Values are cut, not rounded, to whole levels.

One deviation, since the reference's answer is a black picture: where ``spatter`` draws no drop (2 % of the draws on 32
x 32 pixels at severity 1, practically none on larger ones), nothing is added.
"""

from __future__ import annotations

from bob.data.corruptions.apply import MIN_SIDE, corrupt
from bob.data.corruptions.names import (
    BENCHMARK,
    CORRUPTIONS,
    EXTRA,
    SEVERITIES,
    check_corruptions,
    chosen_corruptions,
    corruption_rng,
)
from bob.data.corruptions.photographs import frost_available

__all__ = [
    "BENCHMARK",
    "CORRUPTIONS",
    "EXTRA",
    "MIN_SIDE",
    "SEVERITIES",
    "check_corruptions",
    "chosen_corruptions",
    "corrupt",
    "corruption_rng",
    "frost_available",
]
