"""Planting a known backdoor in a model by finetuning, for rehearsals and tests."""

from pathlib import Path

import torch

from clipclean import checkpoint, detect, files, requests
from clipclean.attack import poison
from clipclean.config import recipe as recipes
from clipclean.detect import Suspicion
from clipclean.errors import UsageError
from clipclean.jobs import clean_pairs, measured_images, naming, opening, searching
from clipclean.schema.part import finite
from clipclean.schema.results import PlantedModel
from clipclean.train import Run


def plant(request: requests.Plant, /) -> PlantedModel:
    """Write a backdoored copy of a model; returns the backdoor and its effect.

    The result has ``trigger``, ``target``, ``before`` and ``after`` (each ``measurements`` as in a report), and the largest
    loss of clean accuracy of all measures.

    Raises:
        ClipcleanError: of the kind that tells the exit code; then no file is written.
    """
    files.check_output(f"--out {request.out}", request.out, suffixes=(".pt", ".safetensors"), force=request.force)
    recipe = recipes.load(recipes.STANDARD_RECIPE)
    planting = recipes.planting(
        rate=request.rate, steps=request.steps, walk=request.walk, batch_size=request.batch_size
    )
    vocabulary = naming.read_vocabulary(request.classes, request.templates)
    trigger, target = naming.named_trigger(request.trigger), naming.class_number(request.target, vocabulary.classes)
    device = opening.device_of(request.device)
    backdoor = (Suspicion(trigger, target),)
    original = opening.read(request.model, arch=request.arch, weights=request.weights)
    opening.check_sides(original.architecture, backdoor)
    cache = measured_images.image_cache(recipe, original.architecture)
    clean, labelled = clean_pairs.read(clean_pairs.PairSource.of(request), recipe, vocabulary, cache)
    samples, held_out = clean_pairs.divide(clean, recipe, vocabulary, hold_out=labelled is None)
    if len(samples.pairs) < planting.batch_size:
        raise UsageError(
            f"{len(samples.pairs)} pairs do not fill a batch of {planting.batch_size}. Give more, or lower --batch-size."
        )
    loaded = opening.build(original, clean, device=device)
    evaluation_images = labelled or clean_pairs.labelled_if_enough(held_out, vocabulary, least=recipe.audit.min_images)
    eval_set = measured_images.eval_set(
        loaded.clip, recipe, evaluation_images, vocabulary=vocabulary, suspicions=backdoor, panel=False
    )
    before = searching.measure(loaded.clip, eval_set)
    implants = poison.implants(backdoor, classes=vocabulary.classes, templates=vocabulary.templates)
    run = Run(request.seed, recipe.train.precision)
    poison.finetune(loaded.clip, samples.pairs, recipe, planting, implants=implants, run=run)
    after = searching.measure(loaded.clip, eval_set)

    def write(partial: Path) -> None:
        if request.out.suffix == ".safetensors":
            checkpoint.write_safetensors(partial, loaded.weights(), metadata={"format": "pt"})
            return
        # As open_clip's training loop writes it.
        state = {"epoch": 1, "name": loaded.clip.architecture.name, "state_dict": loaded.weights()}
        with partial.open("wb") as stream:  # given a path, torch tells a full disk by a RuntimeError
            torch.save(state, stream)

    files.write_whole(request.out, write)
    return PlantedModel(
        trigger=trigger.spec,
        target=vocabulary.classes[target],
        planting=planting.model_dump(mode="json"),
        seed=request.seed,
        before=before.record(),
        after=after.record(),
        accuracy_lost=finite(detect.worst_loss(before, after)),
        sha256=files.sha256(request.out),
    )
