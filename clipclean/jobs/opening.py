"""The model of a job: from a path to a CLIP on a device."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from clipclean import checkpoint, data, detect, model, requests
from clipclean.detect import Suspicion
from clipclean.errors import Inconclusive, UnsupportedModel, UsageError
from clipclean.jobs import measured_images, model_paths
from clipclean.jobs.measured_images import Pairs
from clipclean.schema.report import ModelRecord
from clipclean.untrusted import plural

ACTIVATION_PAIRS = 256  # clean pairs on which GELU and QuickGELU are compared
TRIED_CLASSES = 16  # classes by which a text tower is tried
ALIKE_DISTANCE = 1e-3  # distance of unit embeddings below which they are one: float16 tells apart no less
Source = requests.Model  # a checkpoint, the name of one, or an open_clip model in memory


@dataclass(frozen=True)
class OpenedCheckpoint:
    """A checkpoint as it was read, and the architecture that its tensors belong to."""

    source: model_paths.Located
    file: checkpoint.Checkpoint
    architecture: model.Architecture


@dataclass(frozen=True)
class LoadedModel:
    """A checkpoint as it was read, and the model built from it."""

    source: model_paths.Located
    file: checkpoint.Checkpoint
    clip: model.Clip

    def weights(self) -> dict[str, Tensor]:
        """The model's current tensors in fp32, on the CPU."""
        return {name: tensor.detach().cpu() for name, tensor in self.clip.net.state_dict().items()}

    def record(self) -> ModelRecord:
        """The report's ``model``."""
        architecture = self.clip.architecture
        record = ModelRecord(
            name=self.source.name,
            sha256=self.file.sha256,
            format=self.file.format,
            architecture=architecture.name,
            architecture_how=architecture.origin,
            activation="quick_gelu" if architecture.quick_gelu else "gelu",
            activation_how=architecture.activation_how,
            tensor_sha256=checkpoint.digest(self.file.tensors),
        )
        more = {"revision": self.source.revision, "path": self.source.inside}
        return record.model_copy(update={key: value for key, value in more.items() if value})


def device_of(name: str, /) -> str:
    """``auto`` becomes the first CUDA device or the CPU; raises UsageError for a device that is not there."""
    if name == "auto":
        return "cuda:0" if torch.cuda.is_available() else "cpu"
    if name == "cpu":
        return name
    number = int(name.partition(":")[2] or 0)  # what a request asks for is of one of these kinds
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if number >= count:
        devices = f"{plural(count, 'CUDA device')} here, numbered from 0" if count else "no CUDA device here"
        raise UsageError(f"--device {name}: PyTorch sees {devices}. Use --device {'cuda' if count else 'cpu'} or auto.")
    return f"cuda:{number}"


def check_sides(architecture: model.Architecture, suspicions: Sequence[Suspicion[int | None]], /) -> None:
    """Raise UsageError where a trigger is for images of another side than the model's."""
    side = architecture.preprocess.size
    if wrong := [
        f"{t.spec} ({t.side} px)" for t, _ in suspicions if isinstance(t, detect.InvertedTrigger) and t.side != side
    ]:
        raise UsageError(
            f"The model takes images of {side} px, and these triggers were found on others: {', '.join(wrong)}. "
            "Audit this model with --save-triggers, and give the triggers that it finds."
        )


def read(
    source: Source, /, *, arch: str | None, weights: str | None = None, is_judged: bool = True
) -> OpenedCheckpoint:
    """Read a checkpoint and recognise its architecture; nothing is built yet. ``weights`` chooses among several sets in it.

    With ``is_judged``, settings beside the weights are refused that no tensor shows and no published CLIP has.

    Of a module in memory the tensors are copied; it states its own activation and preprocessing.

    A path may also be a name that ``model_paths.locate`` knows.

    Raises:
        RefusedInput: the file is unreadable, unsafe or of an unsupported kind.
        UnsupportedModel: the tensors do not fit the architecture, or belong to no CLIP with native towers.
        UsageError: the architecture cannot be recognised.
    """
    location, file = file_of(source, weights=weights)
    architecture = recognised(file, location.architecture, arch=arch)
    model.refuse_tokenizer(architecture)
    if is_judged:
        model.refuse_unseen_settings(architecture, str(file.weights.parent / (file.config_name or "")))
    try:
        model.check(architecture, file.tensors)  # a wrong --arch is refused before slow work
    except UnsupportedModel as error:  # there may be several models
        raise UnsupportedModel(f"{location.name}: {error}") from error
    if not isinstance(source, nn.Module):
        return OpenedCheckpoint(location, file, architecture)
    stated = {"model_cfg": architecture.config, "preprocess_cfg": checkpoint.preprocess_of(source)}
    preprocess = model.resolve(file.tensors, arch=None, config=stated, script_quick_gelu=None).preprocess
    architecture = replace(architecture, preprocess=preprocess)
    architecture = architecture.with_activation(bool(file.quick_gelu), "the module's own activation")
    model.check_module(source, architecture, file.tensors)
    return OpenedCheckpoint(location, file, architecture)


def file_of(source: Source, /, *, weights: str | None) -> tuple[model_paths.Located, checkpoint.Checkpoint]:
    """The location of a model, and what is read there; of a module in memory its tensors."""
    location = located(source)
    if isinstance(source, nn.Module):
        return location, checkpoint.of_module(source)
    file = checkpoint.read(location.path, weights=weights)
    location.check(file)
    return location, file


def recognised(
    file: checkpoint.Checkpoint, stated: model.Architecture | None, /, *, arch: str | None
) -> model.Architecture:
    """The architecture of a checkpoint, not yet compared with its tensors; ``stated`` is that which its name stands for.

    Raises:
        UsageError: the architecture cannot be told.
    """
    if stated is not None and arch is None:
        return stated
    return model.resolve(file.tensors, arch=arch, config=file.config, script_quick_gelu=file.quick_gelu)


def build(checkpoint: OpenedCheckpoint, pairs: Pairs, /, *, device: str) -> LoadedModel:
    """The model of a checkpoint, in the fastest memory layout for the device.

    If name, config and archive do not state the activation, it is measured on the clean pairs; a note says where these cannot tell.

    Raises:
        UnsupportedModel: the tensors do not fit the architecture.
        Inconclusive: a tower gives embeddings that are zero or not finite.
    """
    file, architecture = checkpoint.file, checkpoint.architecture
    if architecture.quick_gelu is None:
        clean = pairs if isinstance(pairs, data.CleanSet) else pairs()
        pixels, captions = measured_images.spaced(clean, ACTIVATION_PAIRS)
        plain, quick = (
            model.build(architecture.with_activation(is_quick, "candidate"), file.tensors, device=device)
            for is_quick in (False, True)
        )
        choice = model.choose_activation(plain, quick, pixels, captions)
        architecture = architecture.with_activation(choice.quick_gelu, str(choice))
        file = replace(file, notes=(*file.notes, model.UNDECIDED_NOTE)) if choice.is_guess else file
    clip = model.build(architecture, file.tensors, device=device)
    clip.arrange()
    clip.check()
    return LoadedModel(checkpoint.source, file, clip)


def check_texts(clip: model.Clip, classes: Sequence[str], /) -> None:
    """Raise Inconclusive where the text tower tells no class from another: then no accuracy and no success is anything."""
    texts = clip.embed_texts([f"a photo of a {name}" for name in classes[:TRIED_CLASSES]])
    if len(texts) > 1 and float((texts[1:] - texts[0]).norm(dim=1).max()) < ALIKE_DISTANCE:
        raise Inconclusive(
            f"The text tower gives {len(texts)} classes the same embedding, so it carries nothing, and nothing can be measured by it. "
            "Check that the file holds trained weights of both towers, and name the architecture by --arch."
        )


def located(source: Source, /) -> model_paths.Located:
    """The location of a model and its name in a report: that of its file or folder, its own name, or the class of a module."""
    if isinstance(source, nn.Module):
        return model_paths.Located(Path(), type(source).__name__)
    return model_paths.locate(source)
