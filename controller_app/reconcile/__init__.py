"""From what a switch holds to what it should hold: the difference, its order, and who may send it."""
