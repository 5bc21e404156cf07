"""Cleaning by recipes that follow each other: each is kept once it is done, so that no run does it twice."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from clipclean import detect, model
from clipclean.auto.candidates import Rung
from clipclean.config.recipe import Recipe
from clipclean.findings import Finding
from clipclean.jobs import inputs, suspicions
from clipclean.methods import training, unlearning
from clipclean.methods.unlearning import Lead
from clipclean.train import resume
from clipclean.train.run import Run
from clipclean.train.samples import Samples

DONE = "done"  # the weights after one recipe, in the folder of its part of the run


@dataclass(frozen=True)
class Cleaned:
    """What cleaning with a rung left: the weights, the report's ``training``, and triggers that were found on the way."""

    weights: dict[str, Tensor]
    training: dict[str, Any]
    leads: tuple[Lead, ...]
    remaining: tuple[Finding, ...]  # findings of an unlearning that did not come to its end

    @property
    def changed(self) -> bool:
        """Whether anything was done: an unlearning that finds nothing does nothing."""
        return bool(self.training["steps"])


def clean(
    clip: model.Clip,
    rung: Rung,
    /,
    *,
    where: str,
    origin: dict[str, Any],
    samples: Samples,
    evidence: detect.EvalSet,
    known: tuple[Lead, ...],
    run: Run,
) -> Cleaned:
    """Clean a model in place, recipe by recipe; two rungs that begin alike share their beginning.

    What follows an unlearning shows some pictures under the triggers that were unlearned, so that it does not bring them back.

    Args:
        clip: the model.
        rung: what to do.
        where: names the model among those of the run; results of one are not taken for those of another.
        origin: JSON, what else decides the weights that are begun with; with other ones nothing is gone on from.
        samples: to train on.
        evidence: whose classes a search looks at.
        known: triggers that act, with the places of their classes, for an unlearning.
        run: how; with the state of the whole run.

    Raises:
        Interrupted: SIGINT or SIGTERM came; what is done is kept.
    """
    assert run.state is not None  # noqa: S101 # auto keeps every part
    tellings: list[dict[str, Any]] = []
    leads: list[Lead] = []
    rehearsed: tuple[Lead, ...] = ()
    remaining: list[Finding] = []
    for beginning in rung.beginnings:
        recipe = beginning.recipes[-1]
        begun = {
            "recipes": [decides(each) for each in beginning.recipes],
            "origin": origin,
            "known": unlearning.told(known),
        }
        part = run.state.part(f"{where}-{_slug(beginning.name)}", begun)
        text_classifier = _text_classifier(clip, evidence)
        aims = training.search(
            clip,
            samples,
            recipe,
            text_classifier=text_classifier,
            classes=evidence.classes,
            known=known,
            run=replace(run, state=part),
        )
        hunted = aims.hunted
        leads += hunted.strongest() if hunted else ()
        kept = part.read(DONE)
        if kept is None:
            trained = training.clean(
                clip, samples, recipe, aims=replace(aims, rehearsed=rehearsed), run=replace(run, state=part)
            )
            least = recipe.unlearn.outlyingness
            left = [inputs.dumped(found) for found in suspicions.remaining(trained, least=least)] if hunted else []
            record: dict[str, Any] = {"training": trained.as_dict(), "remaining": left}
            part.write(clip.net.state_dict(), record, name=DONE)
            if hunted:
                hunted = trained.unlearned
            else:
                part.forget(resume.STATE)  # three times the weights, and of no more use
        else:
            put(clip, on_device(clip, kept[0]))
            record = kept[1]
        if hunted:
            rehearsed = (*known, *unlearning.leads(hunted.state.catches))
        tellings.append(record["training"])
        remaining = [Finding.model_validate(each) for each in record["remaining"]]
    return Cleaned(taken(clip), merged(tellings), tuple(leads), tuple(remaining))


def taken(clip: model.Clip, /) -> dict[str, Tensor]:
    """A copy of the weights as they are, on their device."""
    return {name: tensor.detach().clone() for name, tensor in clip.net.state_dict().items()}


def put(clip: model.Clip, weights: dict[str, Tensor], /) -> None:
    """Put weights into the model, which is in evaluation mode afterwards."""
    clip.net.load_state_dict(weights, strict=True)
    clip.net.eval()


def on_device(clip: model.Clip, tensors: dict[str, Tensor], /) -> dict[str, Tensor]:
    """Weights that were read, on the model's device."""
    return {name: tensor.to(clip.device) for name, tensor in tensors.items()}


def decides(recipe: Recipe, /) -> dict[str, Any]:  # Any: JSON
    """What of a recipe decides the weights."""
    return recipe.model_dump(mode="json", include={"method", "train", "loss", "augment", "data", "unlearn"})


def merged(tellings: Sequence[dict[str, Any]], /) -> dict[str, Any]:
    """The report's ``training`` of recipes that followed each other: steps go on counting."""
    steps = pairs = 0
    losses: list[dict[str, float]] = []
    for told in tellings:
        losses += [entry | {"step": entry["step"] + steps} for entry in told["losses"]]
        steps, pairs = steps + told["steps"], pairs + told["pairs"]
    seconds = sum(told["seconds"] for told in tellings)
    whole = tellings[0] | {
        "steps": steps, "pairs": pairs, "seconds": seconds, "losses": losses,
        "pairs_per_second": pairs / seconds if seconds else 0.0,
        "peak_memory_bytes": max(told["peak_memory_bytes"] for told in tellings),
        "peak_device_memory_bytes": max(told["peak_device_memory_bytes"] or 0 for told in tellings) or None,
    }  # fmt: skip
    unlearned = [told["unlearning"] for told in tellings if "unlearning" in told]
    return whole | ({"unlearning": unlearned[0]} if unlearned else {})


def _text_classifier(clip: model.Clip, evidence: detect.EvalSet) -> Tensor:
    """The zero-shot classifier of the model as it is, (K, D)."""
    return detect.classifier(
        clip.embed_texts, evidence.classes, templates=evidence.templates, batch_size=evidence.batch_size
    )  # fmt: skip


def _slug(name: str) -> str:
    """A name as a folder may be called."""
    return re.sub(r"[^a-z0-9]+", "-", name).strip("-")
