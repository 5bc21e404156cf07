"""A file of weights, described: read as data, and no model is built."""

from collections.abc import Collection, Mapping

from torch import Tensor

from clipclean import checkpoint, model
from clipclean.errors import UnsupportedModel, UsageError
from clipclean.jobs import opening
from clipclean.schema.results import Inspection, PreprocessRecord, Recognised, TallyRecord, TensorsRecord

UNDECIDED_ACTIVATION = "undecided: pass --arch NAME, or let 'clipclean sanitize' measure it on clean pairs"


def inspect(source: opening.Source, /, *, arch: str | None, weights: str | None = None) -> Inspection:
    """Format, architecture, numbers and digests of a checkpoint.

    ``architecture.name`` and ``activation.name`` are None where the file alone does not tell; ``how`` says what to do.
    ``sha256`` is that of the file, ``tensor_sha256`` that of the weights whatever the container.

    Raises:
        RefusedInput: the file is unreadable, unsafe or no CLIP with native towers.
        UsageError: ``arch`` is no known name and no readable config.
    """
    location, file = opening.file_of(source, weights=weights)
    inspection = Inspection.of(
        file,
        name=location.name,
        tensors=counts_of(file.tensors),
        tensor_sha256=checkpoint.digest(file.tensors),
        config=file.config_name,
        loaders=loaders(file),
        **_architecture(file, arch, location.architecture),
    )
    return inspection.model_copy(update={"revision": location.revision}) if location.revision else inspection


def counts_of(tensors: Mapping[str, Tensor], /) -> TensorsRecord:
    """The tally of tensors, and one for each dtype (``float32``, ...), the one with most bytes first."""
    groups: dict[str, list[Tensor]] = {}
    for tensor in tensors.values():
        groups.setdefault(str(tensor.dtype).removeprefix("torch."), []).append(tensor)
    tallies = {dtype: TallyRecord(**_tally(group)) for dtype, group in groups.items()}
    ordered = sorted(tallies.items(), key=lambda item: (-item[1].bytes, item[0]))
    return TensorsRecord(**_tally(tensors.values()), dtypes=dict(ordered))


def _tally(group: Collection[Tensor], /) -> dict[str, int]:
    sizes = {"elements": sum(tensor.numel() for tensor in group), "bytes": sum(tensor.nbytes for tensor in group)}
    return {"tensors": len(group), **sizes}


def loaders(file: checkpoint.Checkpoint, /) -> dict[str, str]:
    """The tensors that other libraries take from the file, by library: these, others, or none."""
    wrapped = ".".join(file.wrappers)
    if file.format in ("torch-zip", "torch-legacy"):
        torch_takes = f"the whole mapping; these tensors are what {wrapped} holds" if wrapped else "these tensors"
    else:
        torch_takes = "nothing: torch.save did not write it" if file.format != "torchscript" else "the archive, as code"
    # open_clip/factory.py, load_state_dict: what "state_dict" holds, else all that is there.
    opens = file.wrappers in ((), ("state_dict",))
    open_clip_takes = "these tensors" if opens else f"not these: it does not look under {wrapped}"
    return {
        "torch": torch_takes,
        "open_clip": open_clip_takes if file.library == "open_clip" else f"none: the names are those of {file.library}",
        "transformers": _taken_by_transformers(file),
    }


def _taken_by_transformers(file: checkpoint.Checkpoint, /) -> str:
    """What transformers takes of the file, or from its folder."""
    if file.format == "transformers-directory":
        return "these tensors"
    weights = None if file.format == "module" else checkpoint.transformers_weights(file.weights.parent)
    if weights is None:
        return "none: it expects its own directory layout"
    return "these tensors" if weights == file.weights else f"those of {weights.name}, from its own layout in the folder"


def _architecture(
    file: checkpoint.Checkpoint, arch: str | None, stated: model.Architecture | None, /
) -> dict[str, object]:
    """What an inspection tells of the architecture. If the shapes fit several, the rest of the file is reported all the same."""
    try:
        architecture = opening.recognised(file, stated, arch=arch)
    except UsageError as error:
        if arch is not None or file.config is not None:
            raise
        undecided = Recognised(name=None, how=str(error))
        return {
            "architecture": undecided,
            "activation": Recognised(name=None, how=UNDECIDED_ACTIVATION),
            "preprocess": None,
        }
    model.check(architecture, file.tensors)
    notes = file.notes
    try:
        model.refuse_tokenizer(architecture)
        model.refuse_unseen_settings(architecture, str(file.weights.parent / (file.config_name or "")))
    except UnsupportedModel as error:  # no other command takes the model
        notes = (*notes, str(error))
    activation = Recognised(name=None, how=UNDECIDED_ACTIVATION)
    if architecture.quick_gelu is not None:
        activation = Recognised(
            name="quick_gelu" if architecture.quick_gelu else "gelu", how=architecture.activation_how
        )
    facts = {"architecture": Recognised(name=architecture.name, how=architecture.origin), "activation": activation}
    return facts | {"preprocess": PreprocessRecord.of(architecture.preprocess), "notes": notes}
