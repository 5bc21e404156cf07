"""Clean image-caption data from local disk, in a fixed order, decoded."""

from clipclean.data.batches import plan
from clipclean.data.cache import DecodeCache, Picture
from clipclean.data.clean_set import CleanSet, Pair, Skipped, read, read_images
from clipclean.data.entry import Ignored
from clipclean.data.labels import Labelled, labelled, labels_of
from clipclean.data.picture import CPU, decode, extension
from clipclean.data.source import ImageSource, Limits
from clipclean.data.table import is_address
from clipclean.data.threads import prefetch, workers
from clipclean.data.vocabulary import read_classes, read_templates

__all__ = [
    "CPU",
    "CleanSet",
    "DecodeCache",
    "Ignored",
    "ImageSource",
    "Labelled",
    "Limits",
    "Pair",
    "Picture",
    "Skipped",
    "decode",
    "extension",
    "is_address",
    "labelled",
    "labels_of",
    "plan",
    "prefetch",
    "read",
    "read_classes",
    "read_images",
    "read_templates",
    "workers",
]
