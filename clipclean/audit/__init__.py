"""Measure a model, search it, then judge: rates, distances, probes and sizes are numbers; thresholds come after them."""

from clipclean.audit.families import FAMILIES, Found
from clipclean.audit.hunt import FLOOR, Hunt, Trace, divided, hunt, rank, smallest
from clipclean.audit.probes import Probe, Trigger, probe
from clipclean.audit.projection import project
from clipclean.audit.rates import Rate, paired_difference
from clipclean.audit.run import Evidence, Measurement, measure
from clipclean.audit.search import Candidate, Effort, NoSearch, outlyingness, targeted
from clipclean.audit.verdict import (
    Finding,
    Thresholds,
    accuracy,
    accuracy_loss,
    accuracy_lost,
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
from clipclean.audit.yardstick import Yardstick, stored, yardstick
from clipclean.audit.zeroshot import Attack, attack_success, classifier, predict

__all__ = [
    "FAMILIES",
    "FLOOR",
    "Attack",
    "Candidate",
    "Effort",
    "Evidence",
    "Finding",
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
    "attack_success",
    "audit",
    "classifier",
    "divided",
    "hunt",
    "measure",
    "note",
    "outlyingness",
    "paired_difference",
    "predict",
    "probe",
    "project",
    "rank",
    "sanitized",
    "score",
    "searched",
    "smallest",
    "stored",
    "suspected_classes",
    "suspects",
    "targeted",
    "uncalibrated",
    "unsearched",
    "yardstick",
]
