"""Does a flow state do what the policy says? Packets are walked through it and judged."""
