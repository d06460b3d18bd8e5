"""From what people write (YAML, JSON, graph files) to the values of `controller_app.model`."""
