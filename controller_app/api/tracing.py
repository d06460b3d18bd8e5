"""POST /trace: a packet's way, a captured frame's, or in short those of many."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Annotated, Any

from fastapi import Body, FastAPI
from pydantic import BaseModel, ConfigDict, Field, model_validator

from controller_app.runtime.control import Runtime
from controller_app.runtime.live_trace import live_flows, live_frame, live_trace
from controller_app.verification.pcap import CaptureError
from controller_app.verification.trace import PacketSpec, TraceError

MOST_FRAMES = 200  # of one request; each may cost a question to a switch
_Frame = Annotated[str, Field(max_length=2 * 65_549, description="An Ethernet frame, in hexadecimal digits.")]


class TraceRequest(BaseModel):
    """What to trace: a packet that a host sends (`from`, `to` and the rest); or a captured `frame`, from its sender
    (`from`, where its addresses do not tell) or from the port by which a switch got it (`port`, SWITCH:NUMBER); or
    several `frames`, of which the answer is short: `{"flows": [...]}`."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True)

    source: Annotated[str | None, Field(alias="from")] = None
    to: str | None = None
    proto: str = "tcp"
    sport: Annotated[int, Field(ge=0, le=65535)] = 40000
    dport: Annotated[int, Field(ge=0, le=65535)] = 80
    frame: _Frame | None = None
    frames: Annotated[list[_Frame] | None, Field(max_length=MOST_FRAMES)] = None
    port: str | None = None

    @model_validator(mode="after")
    def _one_of_them(self) -> TraceRequest:
        given = [word for word in ("to", "frame", "frames") if getattr(self, word) is not None]
        if len(given) != 1:
            raise ValueError("give a packet (from, to), a frame, or frames")
        if self.to is not None and self.source is None:
            raise ValueError("give who sends the packet (from)")
        if self.port is not None and (self.to is not None or self.source is not None):
            raise ValueError("a port is for a frame, and instead of who sends it")
        return self


def install(app: FastAPI, runtime: Runtime) -> None:
    """Add the path."""

    @app.post("/api/v1/trace")
    def trace(wanted: Annotated[TraceRequest, Body()]) -> dict[str, Any]:
        """A packet's way there and back, as the switches take it now, every rule with its place and what it counted."""
        if wanted.frames is not None:
            frames = [_frame(text) for text in wanted.frames]
            return {"flows": live_flows(runtime, frames, wanted.port, wanted.source)}
        if wanted.frame is not None:
            try:
                return live_frame(runtime, _frame(wanted.frame), wanted.port, wanted.source)
            except CaptureError as error:
                raise TraceError(str(error)) from None
        try:
            target = ip_address(str(wanted.to))
        except ValueError:
            raise TraceError(f"{wanted.to!r} is not an IP address") from None
        return live_trace(runtime, PacketSpec(str(wanted.source), target, wanted.proto, wanted.sport, wanted.dport))


def _frame(text: str) -> bytes:
    try:
        return bytes.fromhex(text)
    except ValueError:
        raise TraceError(f"{text[:40]!r} is no frame in hexadecimal digits") from None
