"""Losses, schedule, optimizer and loop of a finetuning run, on tensors alone."""

from clipclean.finetune.distances import squared_distance
from clipclean.finetune.forget import forgetting
from clipclean.finetune.loop import Batch, Loss, NonFiniteLoss, Step, finetune
from clipclean.finetune.losses import clip_loss, self_supervised_loss
from clipclean.finetune.objectives import cleanclip
from clipclean.finetune.optimizer import adamw
from clipclean.finetune.par import par
from clipclean.finetune.preserve import preserving
from clipclean.finetune.schedule import learning_rate
from clipclean.finetune.state import capture, restore
from clipclean.finetune.supervised import supervised

__all__ = [
    "Batch",
    "Loss",
    "NonFiniteLoss",
    "Step",
    "adamw",
    "capture",
    "cleanclip",
    "clip_loss",
    "finetune",
    "forgetting",
    "learning_rate",
    "par",
    "preserving",
    "restore",
    "self_supervised_loss",
    "squared_distance",
    "supervised",
]
