"""What a test puts in a worker process: a job whose process is killed."""

from __future__ import annotations

import os
import signal

from voxcache.train import parallel
from voxcache.train.execute import Ended, Job


def run(job: Job) -> Ended:
    """Run a job, but die at every `fcn` as if out of memory."""
    if job.experiments[0].chosen.name == "fcn":
        os.kill(os.getpid(), signal.SIGKILL)
    assert parallel._worker is not None
    return parallel._worker.run(job)
