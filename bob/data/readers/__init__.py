"""One reader per way in which data sets are stored; each is imported when a data set asks for it."""

from __future__ import annotations

from bob.core.registry import Registry
from bob.data.readers.base import Reader, Samples

__all__ = ["READERS", "Reader", "Samples"]

READERS: Registry[Reader] = Registry("data set reader", list_command="bob list datasets")
READERS.add("scenes", "bob.data.readers.scenes:READER")
READERS.add("imagefolder", "bob.data.readers.imagefolder:READER")
READERS.add("torchvision", "bob.data.readers.torchvision:READER")
READERS.add("huggingface", "bob.data.readers.huggingface:READER")
READERS.add("idx", "bob.data.readers.idx:READER")
READERS.add("coco", "bob.data.readers.coco:READER")
READERS.add("masks", "bob.data.readers.masks:READER")
READERS.add("voc", "bob.data.readers.voc:READER")
READERS.add("open_images", "bob.data.readers.open_images:READER")
READERS.add("ade20k", "bob.data.readers.ade20k:READER")
READERS.add("cityscapes", "bob.data.readers.cityscapes:READER")
READERS.add("yolo", "bob.data.readers.yolo:READER")
READERS.add("imagenet_v2", "bob.data.readers.imagenet_shifts:V2_READER")
READERS.add("imagenet_real", "bob.data.readers.imagenet_shifts:REAL_READER")
READERS.add("zip", "bob.data.readers.zip_archive:READER")
READERS.add("webdataset", "bob.data.readers.webdataset:READER")
READERS.add("revisited", "bob.data.readers.revisited:READER")
READERS.add("table", "bob.data.readers.table_reader:READER")
