"""The time of a cleaning, and what of it is kept for the report."""

import contextlib
import math
import time
from dataclasses import dataclass

from clipclean import deadline
from clipclean.jobs import plan
from clipclean.jobs.prepare import CleaningInputs

WITHIN = 0.9  # share of the time after which nothing more is measured: the rest is for the report
AFTERWARDS = 2.0  # measurements of a model that the report may take; on many classes they are longer than that rest


@dataclass(frozen=True)
class Limit:
    """The time of a run; without a limit there is no end."""

    minutes: float | None
    started: float
    end: float  # after which nothing more is tried

    @classmethod
    def of(cls, cleaning_inputs: CleaningInputs, started: float, /) -> "Limit":
        """Of a request, with time for the report at the rate of this machine, but no more than half of all."""
        minutes = cleaning_inputs.request.max_minutes
        if minutes is None:
            return cls(None, started, math.inf)
        # After the last attempt the report measures both models again: a run that tried on until the end would be late.
        seconds = 60 * minutes
        after = AFTERWARDS * plan.seconds_of_measuring(cleaning_inputs)
        return cls(minutes, started, started + max(seconds / 2, min(WITHIN * seconds, seconds - after)))

    def within(self, share: float, /) -> contextlib.AbstractContextManager[None]:
        """Let work end after this share of the time that is left."""
        left = max(0.0, self.end - time.monotonic())
        return deadline.within(None if self.minutes is None else share * left / 60)
