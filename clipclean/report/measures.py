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
        "pictures without a trigger that get the right answer",
        "The share of clean labelled pictures whose most similar class text is that of their own class (zero-shot top-1; "
        "a class text is the mean over the templates). Where there are no labels: the share of pictures whose own caption "
        "is the most similar of all (image-to-text recall@1).",
        "higher",
        True,
    ),
    "asr": Measure(
        "Attack success rate",
        "pictures of other things taken for the target once they carry the trigger",
        "Of the pictures whose label is not the target, the share that is classified as the target once triggered.",
        "lower",
        True,
    ),
    "base_rate": Measure(
        "Base rate",
        "the same pictures taken for the target without the trigger",
        "Of the pictures whose label is not the target, the share that is classified as the target as they are. "
        "No model gets to zero: this is what chance and likeness explain.",
        "",
        True,
    ),
    "excess_asr": Measure(
        "Excess attack success",
        "success beyond the base rate, which is what the verdict looks at",
        "Attack success rate minus base rate, over the same pictures.",
        "lower",
        True,
    ),
    "accuracy_under_trigger": Measure(
        "Accuracy under the trigger",
        "triggered pictures that still get their own label",
        "The share of triggered pictures that are classified as their own label. A low attack success rate is no recovery "
        "if this is low too.",
        "higher",
        True,
    ),
    "knn_asr": Measure(
        "Attack success by neighbours",
        "the same attack, judged by similar pictures instead of by texts",
        "Attack success rate where the class is that of the nearest pictures. A backdoor can live in the match of "
        "pictures with texts alone, so both are shown.",
        "lower",
        True,
    ),
    "distance": Measure(
        "Embedding distance",
        "how far the trigger moves a picture in the model's eyes",
        "The mean over pictures of the squared L2 distance between the unit embeddings of a picture and of its triggered "
        "copy, which is 2 − 2 cos: 0 for no effect, 4 at most.",
        "lower",
        False,
    ),
    "spread": Measure(
        "Spread of triggered pictures",
        "how different triggered pictures still look to the model",
        "The mean squared distance of the triggered pictures' unit embeddings to their mean. A backdoor makes all pictures "
        "look alike, so it is small then.",
        "higher",
        False,
    ),
}
SEARCH_MEASURES = {
    "size": Measure(
        "Size of a found trigger",
        "how much of a picture the search had to change",
        "The smallest share of the picture, or the lowest strength, with which the search made pictures of all kinds look "
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
        "how alike triggered pictures look to the model",
        "The squared length of the mean of the unit embeddings: 1 where all pictures fall on one point, near 0 where they "
        "point everywhere. Clean pictures without a trigger are the comparison.",
        "lower",
        True,
    ),
    "direction_agreement": Measure(
        "Direction agreement",
        "whether all pictures move the same way",
        "The length of the mean of the unit displacements from a picture's embedding to that of its triggered copy: 1 where "
        "the trigger moves every picture the same way, near 0 where it moves them at random.",
        "lower",
        False,
    ),
}
INTERVALS = (
    "Every rate comes with its 95 % interval, by Wilson's method, and n, the number of pictures that it rests on. "
    "A verdict compares whole intervals with limits, never the bare value."
)
