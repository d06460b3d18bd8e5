"""The REST interface. No logic of its own: it asks the runtime and writes down the answer."""
