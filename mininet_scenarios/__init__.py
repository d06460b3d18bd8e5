"""Experiments on real Open vSwitch and real hosts: one idea a file, each ending in assertions."""
