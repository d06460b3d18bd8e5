"""Names of services: which there are, and what a resolver says of them. Values in, bytes out."""

from controller_app.naming.names import DOMAIN, domain, fqdn

__all__ = ["DOMAIN", "domain", "fqdn"]
