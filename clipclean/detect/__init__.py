"""Detection: measure a model, search for triggers, then judge. Numbers first, thresholds last."""

from clipclean.detect.accuracy_cost import accuracy_loss, accuracy_losses, agreement, worst_loss
from clipclean.detect.families import SEARCH_FAMILIES, InvertedTrigger
from clipclean.detect.finetune_base import EXCESS_OVER_BASE, are_kin, are_same, kinship
from clipclean.detect.finetune_base import findings as base_findings
from clipclean.detect.forward import (
    MOVING_EXCESS,
    SINGLE_TILES,
    Departure,
    Strength,
    departures,
    may_round,
    strengths,
    tiles,
)
from clipclean.detect.inversion import Inversion, NoSearch, SmallestTrigger, anomaly_index, canonical_of
from clipclean.detect.measure import (
    BRIEF_PANEL_IMAGES,
    Accuracy,
    ClassTexts,
    CleanImages,
    EvalSet,
    KnownTriggers,
    Measurement,
    MeasurementPlan,
    Probe,
    measure,
    rounded,
    spaced,
    stack,
)
from clipclean.detect.metrics import Rate
from clipclean.detect.references import (
    PERSUASION,
    LateReferences,
    References,
    as_file,
    code_digest,
    from_file,
    is_natural,
    merged_references,
)
from clipclean.detect.score import Suspect, telling
from clipclean.detect.search import (
    LEAST_SIZE_DEVIATION,
    ImageTower,
    SearchResult,
    TargetedResult,
    divided,
    parts_of_search,
    search,
)
from clipclean.detect.so_far import FirstAnswers
from clipclean.detect.stages import Course
from clipclean.detect.suspicion import ClassNumber, Suspicion, TriggerLike, distinct, identities, new_among, targets
from clipclean.detect.verdict import (
    AuditResult,
    accuracy_findings,
    all_suspects,
    audit_findings,
    cleaning_findings,
    findings_beside_base,
    is_failing,
    is_undoubted,
    kin_reference,
    least_score,
    limits_per_look,
    named_suspects,
    search_findings,
    strange_reference,
    suspect_records,
    suspicious_probes,
    unproven,
)
from clipclean.detect.zeroshot import EMBED_BATCH, classifier, predict
