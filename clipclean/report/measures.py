"""What each measure means, once, for every form of the report."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Measure:
    """A measure's name, in plain words, by definition; ``better`` is "higher", "lower" or "" (neither)."""

    label: str
    words: str
    definition: str
    better: str
    is_share: bool


MEASURES = {
    "clean_accuracy": Measure(
        "Clean accuracy",
        "images without a trigger that get the right answer",
        "The share of clean labelled images whose most similar class text is that of their own class (zero-shot top-1; "
        "a class text is the mean over the templates).",
        "higher",
        True,
    ),
    "recall": Measure(
        "Image-to-text recall@1",
        "clean images whose own caption is the most similar of all",
        "The share of clean images whose own caption is the most similar of all captions. It stands in for accuracy where "
        "there are captions and no labels, and depends on how many captions there are.",
        "higher",
        True,
    ),
    "asr": Measure(
        "Attack success rate",
        "images of other things classified as the target once they carry the trigger",
        "Of the images whose label is not the target, the share that is classified as the target once triggered.",
        "lower",
        True,
    ),
    "base_rate": Measure(
        "Base rate",
        "the same images classified as the target without the trigger",
        "Of the images whose label is not the target, the share that is classified as the target as they are. "
        "No model gets to zero: this is what chance and likeness explain.",
        "",
        True,
    ),
    "excess_asr": Measure(
        "Excess attack success",
        "success beyond the base rate, which is what the verdict looks at",
        "Attack success rate minus base rate, over the same images.",
        "lower",
        True,
    ),
    "accuracy_under_trigger": Measure(
        "Accuracy under the trigger",
        "triggered images that still get their own label",
        "The share of triggered images that are classified as their own label. A low attack success rate is no recovery "
        "if this is low too.",
        "higher",
        True,
    ),
    "knn_asr": Measure(
        "Attack success by neighbours",
        "the same attack, judged by similar images instead of by texts",
        "Attack success rate where the class is that of the nearest images. A backdoor can live in the match of "
        "images with texts alone, so both are shown.",
        "lower",
        True,
    ),
    "distance": Measure(
        "Embedding distance",
        "how far the trigger moves an image in the model's eyes",
        "The mean over images of the squared L2 distance between the unit embeddings of an image and of its triggered "
        "copy, which is 2 − 2 cos: 0 for no effect, 4 at most.",
        "lower",
        False,
    ),
    "spread": Measure(
        "Spread of triggered images",
        "how different triggered images still look to the model",
        "The mean squared distance of the triggered images' unit embeddings to their mean. A backdoor makes all images "
        "look alike, so it is small then.",
        "higher",
        False,
    ),
}
SEARCH_MEASURES = {
    "size": Measure(
        "Size of a found trigger",
        "how much of an image the search had to change",
        "The smallest share of the image, or the lowest strength, with which the search made images of all kinds look "
        "like one class. What clean models need is shown beside it: any model can be turned by a change that is large "
        "enough, and a backdoor makes a small one do.",
        "higher",
        True,
    ),
    "abnormality": Measure(
        "Against clean models",
        "how much smaller than clean models need",
        "By how many robust standard deviations (median absolute deviation × 1.4826) the size is smaller than that of clean "
        "models of the same kind.",
        "lower",
        False,
    ),
    "outlyingness": Measure(
        "Against other classes",
        "how much smaller than for the other classes of this model",
        "By how many robust standard deviations the size is smaller than that of the other classes that were searched in "
        "this model. It needs no clean model to compare with.",
        "lower",
        False,
    ),
    "collapse": Measure(
        "Collapse",
        "how alike triggered images look to the model",
        "The squared length of the mean of the unit embeddings: 1 where all images fall on one point, near 0 where they "
        "point everywhere. Clean images without a trigger are the comparison.",
        "lower",
        True,
    ),
    "direction_agreement": Measure(
        "Direction agreement",
        "whether all images move the same way",
        "The length of the mean of the unit displacements from an image's embedding to that of its triggered copy: 1 where "
        "the trigger moves every image the same way, near 0 where it moves them at random.",
        "lower",
        False,
    ),
}
INTERVALS = (
    "Every rate comes with its 95 % interval, by Wilson's method, and n, the number of images that it rests on. "
    "A verdict compares whole intervals with limits, never the bare value."
)
