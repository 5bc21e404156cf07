"""Losses, schedule, optimizer and loop of a finetuning run, on tensors alone."""

from clipclean.finetune.loop import Batch, Loss, NonFiniteLoss, Step, finetune
from clipclean.finetune.losses import clip_loss, self_supervised_loss
from clipclean.finetune.objectives import cleanclip
from clipclean.finetune.optimizer import adamw
from clipclean.finetune.schedule import learning_rate
from clipclean.finetune.state import capture, restore

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
    "learning_rate",
    "restore",
    "self_supervised_loss",
]
