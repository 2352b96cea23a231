"""What learns: data, the two model families and their training; knows nothing of studies or Slurm."""
