"""Clean image-caption data from local disk, in a fixed order, decoded."""

from clipclean.data.cache import DecodedImage, Fit, Image, ImageCache, stack
from clipclean.data.captions import caption_view, synonyms
from clipclean.data.dataset import CleanSet, Pair, read, read_images
from clipclean.data.disturbances import disturb
from clipclean.data.image import extension
from clipclean.data.labels import (
    Samples,
    Vocabulary,
    classes_in,
    labels_of,
    read_classes,
    read_labelled,
    read_templates,
)
from clipclean.data.loading import plan, prefetch, use_workers, workers
from clipclean.data.sample import ImageSource, ReadLimits
from clipclean.data.table import is_address
from clipclean.data.views import enlarge_parts, image_view, mix, move, perturb
