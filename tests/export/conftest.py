"""Reports of runs, with the parts that records are made of."""

import pytest


def rate(value, n=100):
    return {"value": value, "interval": [0.1, 0.9] if value is not None else [0.0, 1.0], "n": n}


def probe(trigger, target, asr, *, known):
    return {"trigger": trigger, "target": target, "asr": rate(asr), "known": known}


def audited(accuracy, probes):
    return {"measurements": {"clean_accuracy": rate(accuracy), "probes": probes}, "findings": [], "suspects": []}


def exported(form, path):
    parity = {"reader": "nobody 1.0", "max_difference": 2e-7, "min_cosine": 0.9999999, "top1_agreement": 1.0, "n": 126}
    return {"format": form, "path": path, "sha256": "ef" * 32, "tensor_sha256": "12" * 32, "parity": parity}


def converted(*formats):
    """What export tells: a record without recipe, seed, verdict and audits."""
    paths = {"open_clip": "open_clip_model.safetensors", "hf": "model.safetensors", "onnx": "onnx/vision_model.onnx"}
    return {
        "tool": {"name": "clipclean", "version": "1"},
        "command": "export",
        "model": {
            "name": "m.pt",
            "format": "torch-zip",
            "architecture": "ViT-B-32",
            "architecture_how": "told by shapes",
            "activation": "gelu",
            "activation_how": "told by config",
            "sha256": "ab" * 32,
            "tensor_sha256": "12" * 32,
        },
        "data": {"name": "clean", "format": "folder", "pairs": 48, "skipped": [], "digest": "cd" * 32},
        "exports": [exported(form, paths[form]) for form in formats],
        "environment": {"python": "3", "torch": "2.13.0", "open_clip_torch": "3.3.0", "device": "cpu", "threads": 1},
    }


@pytest.fixture
def report():
    """The named trigger stands first before and after; the panel's order has changed, as it does."""
    named = "patch:seed=1", "banana"
    finding = {"rule": "CC011", "level": "warning", "value": 0.5, "message": "x"}
    return converted("open_clip") | {
        "command": "sanitize",
        "recipe": {"name": "cleanclip", "revision": 1, "sha256": "34" * 32, "resolved": {"train": {"lr": 1e-5}}},
        "policy": {"name": "default"},
        "seed": 3,
        "verdict": "pass",
        "findings": [finding],
        "suppressed": [],
        "training": {"steps": 100, "seconds": 12.0},
        "before": audited(
            0.75,
            [
                probe(*named, 0.95, known=True),
                probe("stripes:seed=0", "zebra", 0.5, known=False),
                probe("warp:seed=0", "fog", 0.25, known=False),
            ],
        ),
        "after": audited(
            0.625,
            [
                probe(*named, 0.05, known=True),
                probe("warp:seed=0", "fog", 0.125, known=True),
                probe("stripes:seed=0", "lion", 0.375, known=False),
            ],
        ),
    }


@pytest.fixture
def told():
    """Makes what export tells of some formats."""
    return converted
