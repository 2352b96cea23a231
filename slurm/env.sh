# Sourced by slurm/controller.sh and by every worker job, before Python starts.
# Put your site's modules here, such as:
#   module load cuda/12.4
# The virtual environment that `make` built beside this folder, unless another one is active (conda's
# base does not count: many shells start in it):
if [ -z "${VIRTUAL_ENV:-}" ] && { [ -z "${CONDA_PREFIX:-}" ] || [ "${CONDA_DEFAULT_ENV:-}" = base ]; }; then
    project=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
    if [ -x "$project/.venv/bin/python" ]; then
        export VIRTUAL_ENV=$project/.venv PATH=$project/.venv/bin:$PATH
    fi
fi
