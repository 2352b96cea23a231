"""Why attempts end, in Slurm's own words, and what each of them says about the point."""

CANCELLED = "CANCELLED"  # by the user: the tuner itself cancels nothing
WITH_STUDY = "CANCELLED with the study"  # while no controller was at work: no word on the trial
OUT_OF_MEMORY = "OUT_OF_MEMORY"
NO_TRACE = "gone from the queue without a trace"

# Ends that say nothing about the point: such an attempt uses up no retry.
NOBODYS_FAULT = frozenset(
    {
        *("NODE_FAIL", "BOOT_FAIL", "PREEMPTED", "REVOKED", "REQUEUED"),
        *("SIGTERM", "SIGUSR1", "SIGUSR2"),  # a worker that was told to leave, nobody knows why
        WITH_STUDY,
    }
)
# A trial that ended in one of these is no bad point either: the sampler is not told of it.
SAYS_NOTHING = NOBODYS_FAULT | {CANCELLED}
