"""What the first of several processes measures for all: the others wait, and decide by the same numbers."""

from collections.abc import Callable, Mapping
from dataclasses import replace

from clipclean import detect, model, train

MEASURED: Mapping[str, type] = {
    kind.__name__: kind for kind in (detect.Measurement, detect.Probe, detect.Rate, detect.Accuracy)
}


def measured(group: train.Group, clip: model.Clip, make: Callable[[], detect.Measurement], /) -> detect.Measurement:
    """What the first process measures, with the text classifier on the device of the model.

    Raises:
        OutOfTime: in all processes, where time was over in the first.
    """
    found = detect.of_first(group, make, kinds=MEASURED)
    return replace(found, text_classifier=found.text_classifier.to(clip.device))
