"""What ``references build`` does: searches clean models as an audit would, and keeps their numbers."""

import json
from functools import partial

from clipclean import data, demo, detect, files, model, requests
from clipclean.config import recipe as recipes
from clipclean.errors import UsageError
from clipclean.jobs import inputs, other_models, saved_search
from clipclean.jobs.searching import SearchSettings
from clipclean.progress import Progress


def build(request: requests.References, /, *, progress: Progress) -> detect.ReferencesFile:
    """Search clean models as an audit would, and write a references file; returns what it holds: numbers, no weights.

    All models must be of one kind.

    Raises:
        ClipcleanError: of the kind that tells the exit code.
    """
    if not request.models:
        raise UsageError("models: none. Name one at least.")
    recipe, vocabulary = recipes.load(recipes.DEFAULT), inputs.words(request.classes, request.templates)
    device = inputs.device_of(request.device)
    for path in request.models:
        other_models.refuse_failed(path)
    opened = [inputs.read(path, arch=request.arch, weights=request.weights) for path in request.models]
    kinds = [model.shape_of(each.architecture) for each in opened]
    if len(set(kinds)) > 1:
        raise UsageError(f"The models are of several kinds: {', '.join(sorted(set(kinds)))}. Build one file for each.")
    cache = inputs.image_cache(recipe, opened[0].architecture)
    with demo.late() as bundled:
        images = data.read_images(
            request.data or bundled() / demo.LABELLED, images=cache, progress=partial(progress, "reading the images")
        )
        pairs = inputs.late_pairs(lambda: bundled() / demo.PAIRS, cache)
        settings, found = SearchSettings(request.effort, request.seed), {}
        # A build that was interrupted goes on with the next model: the searches of all lie in one state until the end.
        with saved_search.kept({"references": [each.file.sha256 for each in opened], "data": images.digest}) as state:
            for path, each in zip(request.models, opened, strict=True):
                loaded = inputs.build(each, pairs, device=device)
                shown = inputs.audit_set(loaded.clip, images, recipe, vocabulary=vocabulary)
                known = other_models.measured_references(settings, path, loaded, shown, progress, state=state)
                found[f"{inputs.located(path).name} {each.file.sha256}"] = known.entries[0]
    made = detect.as_file(kinds[0], request.effort, vocabulary.classes, found)
    files.write_text(request.out, json.dumps(made, indent=1) + "\n")
    return made
