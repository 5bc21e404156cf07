"""Losses, schedule, optimizer and loop of a finetuning run, on tensors alone."""

from clipclean.train.distributed import Launch, joined, launch_of, leftovers
from clipclean.train.loop import (
    LEAST_PARAMETERS,
    Batch,
    LossFunction,
    NonFiniteLoss,
    Step,
    adamw,
    fit,
    losses_of,
    peak_rate,
    resolved,
    training_record,
)
from clipclean.train.losses import clip_loss, self_supervised_loss, squared_distance
from clipclean.train.memory import MicroBatches, recomputing
from clipclean.train.refit import Tower, refit
from clipclean.train.resume import Run, RunState
from clipclean.train.sparing import MOST_INPUTS, Inverses, inverses_of, moments_of, sparing
