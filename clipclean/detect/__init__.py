"""Measure a model, search it, then judge: rates, distances, probes and sizes are numbers; thresholds come after them."""

from clipclean.detect.families import FAMILIES, InvertedTrigger
from clipclean.detect.inversion import Effort, NoSearch, SearchCandidate, anomaly_index, canonical_of, fastest, targeted
from clipclean.detect.loss import accuracy_loss, accuracy_lost, agreement, estimated_loss, losses
from clipclean.detect.measure import EMBED_BATCH, EvalSet, Measurement, Probe, TriggerLike, measure, probe, stack
from clipclean.detect.metrics import Rate, paired_difference
from clipclean.detect.panel import strengths
from clipclean.detect.projection import neighbouring, principal
from clipclean.detect.references import PANEL, References, Sizes, as_file, from_file, stored, together
from clipclean.detect.score import Suspect, telling
from clipclean.detect.search import FLOOR, SearchResult, TargetedResult, divided, rank, search
from clipclean.detect.verdict import (
    DOUBT,
    VerdictThresholds,
    accuracy,
    audit,
    note,
    sanitized,
    score,
    searched,
    suspected,
    suspected_classes,
    suspects,
    uncalibrated,
    unsearched,
    unsound,
)
from clipclean.detect.zeroshot import Attack, attack_success, canonical_form, classifier, predict

__all__ = [
    "DOUBT",
    "EMBED_BATCH",
    "FAMILIES",
    "FLOOR",
    "PANEL",
    "Attack",
    "Effort",
    "EvalSet",
    "InvertedTrigger",
    "Measurement",
    "NoSearch",
    "Probe",
    "Rate",
    "References",
    "SearchCandidate",
    "SearchResult",
    "Sizes",
    "Suspect",
    "TargetedResult",
    "TriggerLike",
    "VerdictThresholds",
    "accuracy",
    "accuracy_loss",
    "accuracy_lost",
    "agreement",
    "anomaly_index",
    "as_file",
    "attack_success",
    "audit",
    "canonical_form",
    "canonical_of",
    "classifier",
    "divided",
    "estimated_loss",
    "fastest",
    "from_file",
    "losses",
    "measure",
    "neighbouring",
    "note",
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
    "strengths",
    "suspected",
    "suspected_classes",
    "suspects",
    "targeted",
    "telling",
    "together",
    "uncalibrated",
    "unsearched",
    "unsound",
]
