"""Measure a model, search it, then judge: rates, distances, probes and sizes are numbers; thresholds come after them."""

from clipclean.detect.families import FAMILIES, Found
from clipclean.detect.inversion import Candidate, Effort, NoSearch, outlyingness, targeted
from clipclean.detect.measure import EMBED_BATCH, Evidence, Measurement, measure, stack
from clipclean.detect.metrics import Rate, paired_difference
from clipclean.detect.probes import Probe, Trigger, probe
from clipclean.detect.projection import neighbouring, principal
from clipclean.detect.references import Yardstick, stored, yardstick
from clipclean.detect.search import FLOOR, Hunt, Trace, divided, hunt, rank, smallest
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
    "Hunt",
    "Measurement",
    "NoSearch",
    "Probe",
    "Rate",
    "Thresholds",
    "Trace",
    "Trigger",
    "Yardstick",
    "accuracy",
    "accuracy_loss",
    "accuracy_lost",
    "agreement",
    "attack_success",
    "audit",
    "classifier",
    "divided",
    "hunt",
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
    "searched",
    "smallest",
    "stack",
    "stored",
    "suspected_classes",
    "suspects",
    "targeted",
    "uncalibrated",
    "unsearched",
    "yardstick",
]
