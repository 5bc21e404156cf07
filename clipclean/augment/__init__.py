"""Second views of a pair, an augmented image and an augmented caption; parts of pictures; perturbed pictures."""

from clipclean.augment.captions import caption_view
from clipclean.augment.enlarge import enlarged
from clipclean.augment.images import device_view, image_view
from clipclean.augment.perturb import perturbed
from clipclean.augment.synonyms import synonyms

__all__ = ["caption_view", "device_view", "enlarged", "image_view", "perturbed", "synonyms"]
