"""One result of compile, with what it was made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from controller_app.model.allocation import Allocation
from controller_app.model.flow import FlowState
from controller_app.model.policy import Policy
from controller_app.model.topology import Topology
from controller_app.pipeline.compile import Compiled, compile_next
from controller_app.verification.failing import Failures, verify_failures
from controller_app.verification.verified import Verified
from controller_app.verification.verify import Report, must_hold, verify_change


@dataclass(frozen=True)
class Computed:
    """What the switches are to hold, and why. `portable`: slots by a hash that every switch has, not by its own."""

    policy: Policy
    topology: Topology
    compiled: Compiled
    portable: bool = False

    @property
    def state(self) -> FlowState:
        """What every switch is to hold."""
        return self.compiled.state

    @property
    def allocation(self) -> Allocation:
        """The numbers, addresses and slots it was made with."""
        return self.compiled.allocation

    @property
    def leaving(self) -> Mapping[str, tuple[str, ...]]:
        """By service, the endpoints that its selector does not match any more, and whose connections go on."""
        return self.compiled.services.leaving

    def verify(self, before: Verified | None = None) -> tuple[Report, Verified]:
        """Walk every packet class of the policy through it; PolicyError when one is not treated as it says. What holds
        since `before` is not walked again; the next one is answered with the report."""
        return must_hold(self.policy, self.topology, self.state, self.allocation, before)

    def try_out(self, before: Verified | None = None) -> tuple[Report, Verified]:
        """`verify`, without the error."""
        return verify_change(self.policy, self.topology, self.state, self.allocation, before)

    def try_failures(self, verified: Verified) -> Failures:
        """Whether it holds under every single failure of a link or a function. verified: itself."""

        def answer(topology: Topology) -> tuple[FlowState, Allocation]:
            made = compile_next(self.compiled, self.policy, topology, portable=self.portable)
            return made.state, made.allocation

        return verify_failures(verified, answer)
