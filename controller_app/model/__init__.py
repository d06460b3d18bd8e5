"""The words of the domain: frozen values and nothing else."""
