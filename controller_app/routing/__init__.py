"""Which way packets go: distances and next hops over the topology graph."""
