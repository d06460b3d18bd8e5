"""OpenFlow 1.3 on the wire, and the one place that works around os-ken."""
