"""Who answers: slot tables with minimal moves, and label selectors."""
