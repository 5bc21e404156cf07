"""Clean image-caption data from local disk, in a fixed order, decoded."""

from clipclean.data.captions import caption_view
from clipclean.data.dataset import CleanSet, Pair, Skipped, read, read_images
from clipclean.data.image import CPU, decode, extension
from clipclean.data.labels import Labelled, labelled, labels_of
from clipclean.data.loading import DecodeCache, Picture, plan
from clipclean.data.sample import Ignored
from clipclean.data.source import ImageSource, Limits
from clipclean.data.synonyms import synonyms
from clipclean.data.table import is_address
from clipclean.data.threads import prefetch, use_workers, workers
from clipclean.data.views import device_view, enlarged, image_view, perturbed
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
    "caption_view",
    "decode",
    "device_view",
    "enlarged",
    "extension",
    "image_view",
    "is_address",
    "labelled",
    "labels_of",
    "perturbed",
    "plan",
    "prefetch",
    "read",
    "read_classes",
    "read_images",
    "read_templates",
    "synonyms",
    "use_workers",
    "workers",
]
