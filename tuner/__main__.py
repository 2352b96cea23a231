"""`python -m tuner`: the commands."""

COMMANDS = """\
python -m tuner.doctor jobs/pm25.toml  whether a study will run, before a GPU-hour is spent
python -m tuner.run jobs/pm25.toml     start a study, or go on with the run it began
python -m tuner.resume runs/pm25       go on with a run, whatever ended it
python -m tuner.status runs/pm25       what runs, what failed and why, the best so far
python -m tuner.status runs/pm25 37    one trial: its point, its end, the tail of its log
python -m tuner.steer runs/pm25 pause  pause a run, try a point, cancel a trial, raise a limit
python -m tuner.report runs/pm25       figures, tables and the winner's test score, at any time
python -m tuner.compare runs/a runs/b  several runs beside each other, in a table and one page
python -m tuner.export runs/pm25 pm25.parquet   trials for other tools: Parquet, CSV, Optuna
python -m tuner.pack runs/pm25         makes a finished run a few files; it can go on all the same
sbatch slurm/controller.sh jobs/pm25.toml   the same as a Slurm job
Each has --help with an example."""

if __name__ == "__main__":
    print(COMMANDS)
