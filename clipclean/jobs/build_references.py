"""The references job: search clean models as an audit would, and write the sizes of what was found."""

import json

from clipclean import detect, files, model, requests
from clipclean.config import recipe as recipes
from clipclean.errors import UsageError
from clipclean.jobs import clean_models, measured_images, naming, opening, saved_search
from clipclean.jobs.searching import SearchSettings
from clipclean.schema.results import ReferencesFile


def build_references(request: requests.References, /) -> ReferencesFile:
    """Search clean models as an audit would, and write a references file; returns what it holds: numbers, no weights.

    All models must be of one kind.

    Raises:
        ClipcleanError: of the kind that tells the exit code.
    """
    if not request.models:
        raise UsageError("models: none. Name one at least.")
    files.check_output(f"--out {request.out}", request.out)
    recipe, vocabulary = (
        recipes.load(recipes.STANDARD_RECIPE),
        naming.read_vocabulary(request.classes, request.templates),
    )
    device = opening.device_of(request.device)
    for path in request.models:
        clean_models.refuse_failed(path)
    checkpoints = [opening.read(path, arch=request.arch, weights=request.weights) for path in request.models]
    kinds = [model.shape_of(clean.architecture) for clean in checkpoints]
    if len(set(kinds)) > 1:
        raise UsageError(f"The models are of several kinds: {', '.join(sorted(set(kinds)))}. Build one file for each.")
    with measured_images.shown_images(request.data, recipe, checkpoints[0].architecture) as (images, late_pairs):
        settings, sizes = SearchSettings(request.effort, request.seed), {}
        # A build that was interrupted goes on with the next model: the searches of all lie in one state until the end.
        with saved_search.resumable(
            {"references": [clean.file.sha256 for clean in checkpoints], "data": images.digest}
        ) as state:
            for clean in checkpoints:
                loaded = opening.build(clean, late_pairs, device=device)
                eval_set = measured_images.audit_set(loaded.clip, recipe, images, vocabulary=vocabulary)
                searched = clean_models.measured_references(settings, loaded, eval_set, state=state)
                sizes[f"{clean.source.name} {clean.file.sha256}"] = searched.entries[0]
    stored = detect.as_file(kinds[0], request.effort, vocabulary.classes, sizes)
    files.write_text(request.out, json.dumps(stored, indent=1) + "\n")
    return stored
