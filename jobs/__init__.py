"""What runs: the files of a run, the workers that train, and the executors that start them."""
