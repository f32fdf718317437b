"""When this process gets the processor while others want it too (`sched(7)`)."""

from __future__ import annotations

import os

NOT_FIRST = (
    "performance.realtime has no effect here: it takes two processors or more, and the capability "
    "SYS_NICE or CPUSchedulingPolicy=rr in the systemd unit"
)
"""What a person is told where `run_first` says no."""


def run_first() -> bool:
    """Let the calling thread run before ordinary ones, as the kernel's own packet handling does.

    A thread that only forwards packets is soon done, but while it waits for its turn behind busy
    programs everything that it carries waits. SCHED_RR with the lowest real-time priority; the
    kernel keeps a share for the others (sched_rt_runtime_us), and what this thread starts does
    not inherit it. False, and nothing changed: it is not permitted (no CAP_SYS_NICE), or there
    is one processor only, which a flood could take for itself. True also where whoever started
    this process has seen to it already.
    """
    if os.sched_getscheduler(0) & ~os.SCHED_RESET_ON_FORK in (os.SCHED_RR, os.SCHED_FIFO):
        return True
    if len(os.sched_getaffinity(0)) < 2:
        return False
    try:
        policy = os.SCHED_RR | os.SCHED_RESET_ON_FORK
        os.sched_setscheduler(0, policy, os.sched_param(os.sched_get_priority_min(os.SCHED_RR)))
    except OSError:
        return False
    return True
