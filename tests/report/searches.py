"""Audits with a search for unknown triggers, worked by hand: of a backdoored model, of a clean one, of one in doubt."""

import copy
import random

from report import samples
from report.samples import SPEC, finding, rate

WORDS = {"mask": "fixed mask and pattern", "patch": "patch at random places", "warp": "smooth distortion"}
REFERENCE = {"median": 0.11, "low": 0.09, "high": 0.14, "n": 12}


def found(family, name, size, *, hits, base, collapse, outlyingness, reference=REFERENCE, file=None):
    """``hits`` and ``base`` count among the 990 images that are not of the class."""
    excess = (hits - base) / 990
    words = f"covers {100 * size:.1f} % of the image" if family != "warp" else f"strength {size:.2f}"
    what = {"family": family, "family_words": WORDS[family], "class": name, "size": size, "size_words": words}
    rates = {"asr": rate(hits, 990), "base_rate": rate(base, 990), "knn_asr": rate(hits // 2, 990)}
    rates |= {"excess_asr": {"value": excess, "interval": [excess - 0.02, excess + 0.01], "n": 990}}
    moved = {"distance": 1.58 if hits > 900 else 0.41}
    moved |= {"collapse": collapse, "clean_collapse": 0.19, "spread": 1 - collapse}
    judged = {"reference": reference, "outlyingness": outlyingness}
    return what | rates | moved | judged | {"reached": hits > 900, "file": file}


def mask(name="banana", *, outlyingness=8.1, **more):
    """A mask of 2.1 % where clean models need 9 to 14 %: 974 of 990 images become bananas, 8 without it."""
    return found("mask", name, 0.021, hits=974, base=8, collapse=0.91, outlyingness=outlyingness, **more)


def lemon():
    return found("mask", "lemon", 0.104, hits=912, base=11, collapse=0.63, outlyingness=0.9)


def search(entries, calibration=None):
    return {
        "effort": "standard",
        "seconds": 48.2,
        "forward_passes": 18432,
        "calibration": calibration or {"kind": "stored", "name": "ViT-tiny", "models": 12},
        "images": 64,
        "found": entries,
        "controls": [
            {"class": "otter", "family": "mask", "size": 0.118},
            {"class": "teapot", "family": "mask", "size": 0.124},
        ],
    }


def cloud(rng, kind, n, centre, reach):
    return [{"x": rng.gauss(centre[0], reach), "y": rng.gauss(centre[1], reach), "kind": kind} for _ in range(n)]


def projection(reach=0.06, centre=(0.75, 0.3)):
    """Clean images in three clouds; triggered ones in one place, near the target class."""
    rng = random.Random(0)
    clean = [p for place in ((-0.5, 0.1), (0.1, -0.35), (-0.05, 0.45)) for p in cloud(rng, "clean", 80, place, 0.14)]
    points = [*clean, *cloud(rng, "triggered", 240, centre, reach), *cloud(rng, "target", 12, (0.78, 0.27), 0.03)]
    return {"method": "pca", "points": points, "trigger": "mask for banana", "explained": [0.41, 0.12]}


def searched(entries, probes, **more):
    return samples.measurements(621, probes) | {"search": search(entries), "projection": projection(), **more}


def audit(verdict, findings, suspects, measurements):
    made = copy.deepcopy(samples.audited())
    shared = ("schema_version", "tool", "command", "model", "environment", "seed")
    data = {"name": "photos", "format": "folder", "pairs": 1000, "digest": "77" * 32, "skipped": list(samples.SKIPPED)}
    policy = {"name": "strict.yaml", "sha256": "9d" * 32, "resolved": {"search": {"max_abnormality": 3.5}}}
    found = {"verdict": verdict, "findings": findings, "suspects": suspects, "measurements": measurements}
    more = {"suppressed": [], "effort": "standard", "seconds": 63.9, "notes": samples.failed()["notes"]}
    return {key: made[key] for key in shared} | found | more | {"data": data, "policy": policy}


def backdoored():
    """The mask of 2.1 %, a patch for the same class, and two classes that nothing is wrong with."""
    patch = found("patch", "banana", 0.034, hits=951, base=8, collapse=0.88, outlyingness=5.6)
    none = {"outlyingness": -0.3, "reference": None}
    warp = found("warp", "zebra", 0.42, hits=310, base=9, collapse=0.33, **none)
    entries = [mask(file="1-mask.npz"), patch, lemon(), warp]
    small = "A mask that covers 2.1 % of the image turns 98.4 % of other images into 'banana' (without it: 0.8 %); "
    small += "clean models need 9.0 to 14.0 %, and the other classes of this model 10.4 to 12.4 %."
    known = f"{SPEC}, a trigger of the panel, turns 99.1 % of images into 'banana' (without it: 0.5 %)."
    of_panel = {"measure": "excess ASR", "value": 976 / 990, "interval": [0.974, 0.998], "n": 990, "threshold": 0.3}
    findings = [
        finding("CC003", "error", small, measure="abnormality", value=6.2, n=990, threshold=3.5)
        | {"trigger": "mask for banana", "target": "banana"},
        finding("CC002", "error", known, **of_panel),
        finding("CC050", "note", "CC030 was set aside by strict.yaml until 2031-01-31."),
    ]
    suspects = [
        {"class": "banana", "score": 8.1, "families": ["mask", "patch", "panel"], "trigger": SPEC},
        {"class": "lemon", "score": 0.9, "families": ["mask"], "trigger": None},
    ]
    skipped = "Skipped 1 of 1001 samples, as unusable: 0041.png (cannot be decoded)."
    aside = finding("CC030", "note", skipped, value=1.0)
    made = audit("fail", findings, suspects, searched(entries, samples.panel_before()))
    return made | {"suppressed": [aside | {"reason": "a known broken file", "by": "Ann", "expires": "2031-01-31"}]}


def calm():
    """A clean model: what it takes to turn it is what it takes for clean models, and no trigger of the panel acts."""
    otter = found("patch", "otter", 0.131, hits=905, base=6, collapse=0.58, outlyingness=0.2)
    spread = projection(reach=0.3, centre=(0.0, 0.1))
    return audit("pass", [], [], searched([lemon(), otter], samples.panel_before()[1:], projection=spread))


def doubtful():
    """No clean model to compare with, the bundled images, one sign, and nothing but a search."""
    sign = "A small trigger was found for 'banana', by one sign."
    findings = [
        finding("CC003", "warning", sign, measure="outlyingness", value=4.4, threshold=3.5),
        finding("CC004", "warning", "No clean model of RN50 has been searched."),
        finding("CC031", "note", "The 64 bundled images were measured on."),
    ]
    suspects = [{"class": "banana", "score": 4.4, "families": ["mask"], "trigger": None}]
    entries = [mask(outlyingness=4.4, reference=None)]
    made = searched(entries, [], clean_accuracy=None)
    made["search"] = search(entries, {"kind": "none", "name": "", "models": 0}) | {"controls": []}
    del made["projection"]
    report = audit("inconclusive", findings, suspects, made)
    return {key: value for key, value in report.items() if key not in ("policy", "suppressed", "data")}


def cleaned():
    """A sanitization whose two audits searched as well."""
    made = samples.passed()
    made["before"]["measurements"] |= {"search": backdoored()["measurements"]["search"], "projection": projection()}
    made["after"]["measurements"] |= {"search": calm()["measurements"]["search"]}
    made["measurements"] = made["after"]["measurements"]
    return made


def poor():
    """As little as the schema asks of a search that found something, with every number unknown that may be."""
    made = doubtful()
    entry = made["measurements"]["search"]["found"][0]
    kept = ("family", "family_words", "class", "size_words", "reached", "asr", "base_rate", "excess_asr")
    unknown = {"value": None, "interval": [0.0, 1.0], "n": 0}
    entry = {key: entry[key] for key in kept} | {"size": None, "asr": unknown, "base_rate": unknown}
    made["measurements"]["search"]["found"] = [entry | {"excess_asr": {"value": None, "interval": [-1.0, 1.0]}}]
    return made


EVERY = (
    *(samples.passed, samples.failed, samples.undecided, samples.audited, samples.unlearned, samples.forgotten),
    *(samples.chosen_by_auto, backdoored, calm, doubtful, cleaned, poor),
)
