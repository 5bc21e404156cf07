"""Measure a model, then judge it: rates, distances and probes are numbers; thresholds come after them."""

from clipclean.audit.probes import Probe, Trigger, probe
from clipclean.audit.rates import Rate, paired_difference
from clipclean.audit.run import Evidence, Measurement, measure
from clipclean.audit.verdict import Finding, Thresholds, Verdict, accuracy_loss, audit, sanitized, suspects
from clipclean.audit.zeroshot import Attack, attack_success, classifier, predict

__all__ = [
    "Attack",
    "Evidence",
    "Finding",
    "Measurement",
    "Probe",
    "Rate",
    "Thresholds",
    "Trigger",
    "Verdict",
    "accuracy_loss",
    "attack_success",
    "audit",
    "classifier",
    "measure",
    "paired_difference",
    "predict",
    "probe",
    "sanitized",
    "suspects",
]
