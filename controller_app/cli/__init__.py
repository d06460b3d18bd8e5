"""The two commands: `chain-manager`, the controller, and `chainctl`, which talks to it."""
