"""The state a controller starts with, verified."""

from __future__ import annotations

import logging
from collections.abc import Callable

from controller_app.runtime.computed import Computed
from controller_app.verification.verified import Verified
from controller_app.verification.verify import Report

LOG = logging.getLogger(__name__)


def first(compute: Callable[[], Computed], forget_hosts: Callable[[], bool]) -> tuple[Computed, Report, Verified]:
    """What is computed, and what verification says of it. Raises PolicyError.

    Hosts remembered from an earlier run must not prevent a start, whatever is wrong with them: `forget_hosts` lets go
    of them, and answers whether there were any; they are learned again. Without them the same error is the policy's.
    """
    try:
        computed = compute()
        return computed, *computed.verify()
    except Exception as error:
        if not forget_hosts():
            raise
        why = error
    computed = compute()
    verified = computed.verify()
    LOG.error("the hosts of the last run are forgotten, the network cannot be computed with them: %s", why)
    return computed, *verified
