"""Losses, schedule, optimizer and loop of a finetuning run, on tensors alone."""

from clipclean.finetune.distances import squared_distance
from clipclean.finetune.distributed import ALONE, Group, LostProcess, joined
from clipclean.finetune.forget import forgetting
from clipclean.finetune.loop import Batch, Loss, NonFiniteLoss, Step, finetune, is_out_of_memory
from clipclean.finetune.losses import clip_loss, self_supervised_loss
from clipclean.finetune.memory import MicroBatches, recomputing
from clipclean.finetune.objectives import cleanclip
from clipclean.finetune.optimizer import adamw
from clipclean.finetune.par import par
from clipclean.finetune.precision import in_precision, resolved
from clipclean.finetune.preserve import preserving
from clipclean.finetune.schedule import learning_rate
from clipclean.finetune.state import capture, restore
from clipclean.finetune.supervised import supervised

__all__ = [
    "ALONE",
    "Batch",
    "Group",
    "Loss",
    "LostProcess",
    "MicroBatches",
    "NonFiniteLoss",
    "Step",
    "adamw",
    "capture",
    "cleanclip",
    "clip_loss",
    "finetune",
    "forgetting",
    "in_precision",
    "is_out_of_memory",
    "joined",
    "learning_rate",
    "par",
    "preserving",
    "recomputing",
    "resolved",
    "restore",
    "self_supervised_loss",
    "squared_distance",
    "supervised",
]
