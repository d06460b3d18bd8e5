"""What every lab needs: a network of its own, a controller, traffic, witnesses, checks and a report."""
