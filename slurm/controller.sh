#!/bin/bash
# The controller of a study as a small Slurm job:
#   sbatch slurm/controller.sh [jobs/pm25.toml [--set n_trials=20 …]]
#   sbatch slurm/controller.sh runs/pm25        (goes on with a run)
# It asks for points and submits the workers; it needs one CPU and no GPU. Shortly before its time
# limit it queues a successor. Submitted twice, the second copy waits as a hot standby.
#SBATCH --job-name=tuner
#SBATCH --ntasks=1
#SBATCH --cpus-per-task=1
#SBATCH --mem=4G
#SBATCH --output=tuner-%j.log
#SBATCH --open-mode=append
#SBATCH --requeue
#SBATCH --signal=B:USR1@300
set -eu
trap '' USR1  # a short job is warned at its very start, before Python listens
export TUNER_CONTROLLER=1
# Slurm runs a copy of this script elsewhere: the project is where sbatch was typed.
cd "${SLURM_SUBMIT_DIR:-$(dirname "$0")/..}"
if [ ! -f slurm/env.sh ]; then
    echo "error: $PWD has no slurm/env.sh; type sbatch in the project's folder" >&2
    exit 2
fi
source slurm/env.sh
[ $# -gt 0 ] || set -- jobs/pm25.toml
umask 077
# exec: Slurm's signals then reach Python and not this shell.
if [ -d "$1" ]; then
    exec python -u -m tuner.resume "$@"
fi
exec python -u -m tuner.run "$@" --executor slurm
