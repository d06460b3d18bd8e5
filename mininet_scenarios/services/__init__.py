"""The pieces of the lab `service_cases`."""
