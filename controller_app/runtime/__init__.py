"""What runs: the conductor that turns events into desired states, and the one thread that it runs in."""
