"""Measure a model, search it, then judge: rates, distances, probes and sizes are numbers; thresholds come after them."""

from clipclean.detect.families import FAMILIES, Found
from clipclean.detect.inversion import Candidate, Effort, NoSearch, canonical_of, outlyingness, targeted
from clipclean.detect.measure import EMBED_BATCH, Evidence, Measurement, measure, stack
from clipclean.detect.metrics import Rate, paired_difference
from clipclean.detect.precision import fastest
from clipclean.detect.probes import Probe, Trigger, probe
from clipclean.detect.projection import neighbouring, principal
from clipclean.detect.references import References, Sizes, as_file, from_file, stored, together
from clipclean.detect.search import FLOOR, SearchResult, TargetedResult, divided, rank, search
from clipclean.detect.verdict import (
    Thresholds,
    accuracy,
    accuracy_loss,
    accuracy_lost,
    agreement,
    audit,
    note,
    sanitized,
    score,
    searched,
    suspected_classes,
    suspects,
    uncalibrated,
    unsearched,
    unsound,
)
from clipclean.detect.zeroshot import Attack, attack_success, classifier, predict

__all__ = [
    "EMBED_BATCH",
    "FAMILIES",
    "FLOOR",
    "Attack",
    "Candidate",
    "Effort",
    "Evidence",
    "Found",
    "Measurement",
    "NoSearch",
    "Probe",
    "Rate",
    "References",
    "SearchResult",
    "Sizes",
    "TargetedResult",
    "Thresholds",
    "Trigger",
    "accuracy",
    "accuracy_loss",
    "accuracy_lost",
    "agreement",
    "as_file",
    "attack_success",
    "audit",
    "canonical_of",
    "classifier",
    "divided",
    "fastest",
    "from_file",
    "measure",
    "neighbouring",
    "note",
    "outlyingness",
    "paired_difference",
    "predict",
    "principal",
    "probe",
    "rank",
    "sanitized",
    "score",
    "search",
    "searched",
    "stack",
    "stored",
    "suspected_classes",
    "suspects",
    "targeted",
    "together",
    "uncalibrated",
    "unsearched",
    "unsound",
]
