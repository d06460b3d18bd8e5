"""Frames that are sent out to come back at once, and show what the datapath of a switch does to them."""

TRIAL_MARK = b"chainsteer: able?"  # their end
_BY_CONTROLLER = bytes.fromhex("80000004fffffffd")  # the OXM of in_port: OFPP_CONTROLLER


def came_back(message: bytes) -> bool:
    """Whether an OFPT_PACKET_IN is of such a frame: of what a host sent it is none, whatever that looks like."""
    return message.endswith(TRIAL_MARK) and message[28:36] == _BY_CONTROLLER
