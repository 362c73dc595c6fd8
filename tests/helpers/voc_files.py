"""Small VOC data sets for the tests: XML files with or without lists, wherever people put them."""

from __future__ import annotations

from pathlib import Path

from data_helpers import first_seed, picture

CORNERS = ("xmin", "ymin", "xmax", "ymax")


def voc_object(name="dog", box=(3, 4, 10, 12), **more):
    """Return one ``<object>``; ``more`` are further elements."""
    corners = "".join(f"<{key}>{value}</{key}>" for key, value in zip(CORNERS, box, strict=True))
    others = "".join(f"<{key}>{value}</{key}>" for key, value in more.items())
    return f"<object><name>{name}</name>{others}<bndbox>{corners}</bndbox></object>"


def voc_page(*objects, size=(40, 30), filename=""):
    """Return an XML file about a picture of (width, height); None states no size."""
    stated = f"<size><width>{size[0]}</width><height>{size[1]}</height><depth>3</depth></size>" if size else ""
    named = f"<filename>{filename}</filename>" if filename else ""
    return f"<annotation>{named}{stated}{''.join(objects)}</annotation>"


def voc_pages(pages: Path, pictures: Path, names, page=None):
    """Write one picture and one XML file, of a dog and a cat, for each name."""
    pages.mkdir(parents=True, exist_ok=True)
    pictures.mkdir(parents=True, exist_ok=True)
    content = page or voc_page(voc_object(), voc_object("cat", (1, 1, 40, 30)))
    for place, name in enumerate(names):
        picture(first_seed(*pictures.parts[-2:], pages.name) + place).save(pictures / f"{name}.jpg")
        (pages / f"{name}.xml").write_text(content)


def voc_year(root: Path, lists: dict[str, str], count=8):
    """Write a year's folder of pictures 0, 1, ... with the lists (content by name) of ``ImageSets/Main``."""
    voc_pages(root / "Annotations", root / "JPEGImages", range(count))
    (root / "ImageSets" / "Main").mkdir(parents=True)
    for name, content in lists.items():
        (root / "ImageSets" / "Main" / f"{name}.txt").write_text(content)
    return root
