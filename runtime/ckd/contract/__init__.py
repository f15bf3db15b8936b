"""What every stage agrees on; NumPy and the standard library, nothing else."""
