"""Second views of a pair: an augmented image, an augmented caption."""

from clipclean.augment.captions import caption_view
from clipclean.augment.images import image_view
from clipclean.augment.synonyms import synonyms

__all__ = ["caption_view", "image_view", "synonyms"]
