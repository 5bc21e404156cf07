"""A model beside the one that it was finetuned from, without a search: how near they are, what moved, and which known triggers act on one."""

from clipclean import __version__, detect, machine, requests
from clipclean.config import recipe as recipes
from clipclean.errors import UsageError
from clipclean.jobs import finetune_base, measured_images, naming, opening
from clipclean.progress import stage
from clipclean.schema.report import ToolRecord
from clipclean.schema.results import ComparedModels


def compare_with_base(request: requests.Compare, /) -> ComparedModels:
    """Measure a model beside its base; nothing is judged but what acts on the model alone.

    Raises:
        UsageError: no base is named, or one with the weights of the model, or of another architecture.
        ClipcleanError: what the readers raise.
    """
    if request.later is not None:
        raise UsageError(f"--base compares one model with its base. Leave {request.later} out, or --base.")
    sources = () if request.base is None else (request.base,)
    recipe, vocabulary = (
        recipes.load(recipes.STANDARD_RECIPE),
        naming.read_vocabulary(request.classes, request.templates),
    )
    suspicions, device = naming.suspicions(request.trigger, None, vocabulary), opening.device_of(request.device)
    with stage("reading the models"):
        checkpoint = opening.read(request.model, arch=request.arch, weights=request.weights)
        opening.check_sides(checkpoint.architecture, suspicions)
        base = finetune_base.read(sources, checkpoint, arch=request.arch)
    if base is None:
        raise UsageError("One model is named. Name the one that it was finetuned from by --base, or two reports.")
    with measured_images.shown_images(request.data, recipe, checkpoint.architecture) as (images, late_pairs):
        with stage("building the model"):
            loaded = opening.build(checkpoint, late_pairs, device=device)
        eval_set = measured_images.audit_set(loaded.clip, recipe, images, vocabulary=vocabulary, suspicions=suspicions)
        beside = finetune_base.load(base, loaded.clip, eval_set, late_pairs)
        with stage("trying known triggers on both"):
            comparison = beside.under_known(loaded.clip, eval_set)
    return ComparedModels(
        schema_version="1",
        tool=ToolRecord(name="clipclean", version=__version__),
        command="compare",
        model=loaded.record(),
        base=beside.record(comparison, is_whole=True),
        findings=(
            *detect.base_findings(comparison, specs=[trigger.spec for trigger, _ in suspicions]),
            *beside.notes(),
        ),
        data=images.record().model_copy(update={"pairs": len(eval_set.images)}),
        vocabulary=vocabulary.record(is_given=request.classes is not None),
        environment=machine.versions() | machine.hardware(str(loaded.clip.device)),
        notes=loaded.file.notes,
    )
