"""Choosing a recipe: plants test backdoors, tries candidates, runs the best."""

from clipclean import train
from clipclean.auto.job import auto, ladder
from clipclean.config.methods import METHODS
from clipclean.jobs.outputs import SanitizeOutcome
from clipclean.jobs.prepare import SanitizeRequest
from clipclean.jobs.sanitize import sanitize
from clipclean.progress import Progress


def clean(
    request: SanitizeRequest, /, *, progress: Progress, group: train.Group = train.ALONE
) -> SanitizeOutcome | None:
    """Clean one checkpoint by its recipe: by the method that the recipe names, or by the one that ``auto`` chooses.

    Raises:
        ClipcleanError: of the kind that tells the exit code; then nothing new stands in ``request.out``.
    """
    if METHODS[request.recipe.method].chooses:
        return auto(request, progress=progress, group=group)
    return sanitize(request, progress=progress, group=group)


__all__ = ["auto", "clean", "ladder"]
