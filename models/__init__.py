"""What learns: data, the two model families, their training; nothing of studies or Slurm."""
