"""What the steering engine costs, in counts and ratios: `make bench` (see `__main__`)."""
