"""Names of the errors a switch may answer with (OpenFlow 1.3.5, 7.4.4; ONF extension 230)."""

from __future__ import annotations

from collections.abc import Mapping

_ONF = 0x4F4E4600

# type -> (name, names of its codes in order)
_NAMES: Mapping[int, tuple[str, tuple[str, ...]]] = {
    0: ("HELLO_FAILED", ("INCOMPATIBLE", "EPERM")),
    1: (
        "BAD_REQUEST",
        (
            "BAD_VERSION",
            "BAD_TYPE",
            "BAD_MULTIPART",
            "BAD_EXPERIMENTER",
            "BAD_EXP_TYPE",
            "EPERM",
            "BAD_LEN",
            "BUFFER_EMPTY",
            "BUFFER_UNKNOWN",
            "BAD_TABLE_ID",
            "IS_SLAVE",
            "BAD_PORT",
            "BAD_PACKET",
            "MULTIPART_BUFFER_OVERFLOW",
        ),
    ),
    2: (
        "BAD_ACTION",
        (
            "BAD_TYPE",
            "BAD_LEN",
            "BAD_EXPERIMENTER",
            "BAD_EXP_TYPE",
            "BAD_OUT_PORT",
            "BAD_ARGUMENT",
            "EPERM",
            "TOO_MANY",
            "BAD_QUEUE",
            "BAD_OUT_GROUP",
            "MATCH_INCONSISTENT",
            "UNSUPPORTED_ORDER",
            "BAD_TAG",
            "BAD_SET_TYPE",
            "BAD_SET_LEN",
            "BAD_SET_ARGUMENT",
        ),
    ),
    3: (
        "BAD_INSTRUCTION",
        (
            "UNKNOWN_INST",
            "UNSUP_INST",
            "BAD_TABLE_ID",
            "UNSUP_METADATA",
            "UNSUP_METADATA_MASK",
            "BAD_EXPERIMENTER",
            "BAD_EXP_TYPE",
            "BAD_LEN",
            "EPERM",
        ),
    ),
    4: (
        "BAD_MATCH",
        (
            "BAD_TYPE",
            "BAD_LEN",
            "BAD_TAG",
            "BAD_DL_ADDR_MASK",
            "BAD_NW_ADDR_MASK",
            "BAD_WILDCARDS",
            "BAD_FIELD",
            "BAD_VALUE",
            "BAD_MASK",
            "BAD_PREREQ",
            "DUP_FIELD",
            "EPERM",
        ),
    ),
    5: (
        "FLOW_MOD_FAILED",
        (
            "UNKNOWN",
            "TABLE_FULL",
            "BAD_TABLE_ID",
            "OVERLAP",
            "EPERM",
            "BAD_TIMEOUT",
            "BAD_COMMAND",
            "BAD_FLAGS",
        ),
    ),
    6: (
        "GROUP_MOD_FAILED",
        (
            "GROUP_EXISTS",
            "INVALID_GROUP",
            "WEIGHT_UNSUPPORTED",
            "OUT_OF_GROUPS",
            "OUT_OF_BUCKETS",
            "CHAINING_UNSUPPORTED",
            "WATCH_UNSUPPORTED",
            "LOOP",
            "UNKNOWN_GROUP",
            "CHAINED_GROUP",
            "BAD_TYPE",
            "BAD_COMMAND",
            "BAD_BUCKET",
            "BAD_WATCH",
            "EPERM",
        ),
    ),
    7: ("PORT_MOD_FAILED", ("BAD_PORT", "BAD_HW_ADDR", "BAD_CONFIG", "BAD_ADVERTISE", "EPERM")),
    8: ("TABLE_MOD_FAILED", ("BAD_TABLE", "BAD_CONFIG", "EPERM")),
    9: ("QUEUE_OP_FAILED", ("BAD_PORT", "BAD_QUEUE", "EPERM")),
    10: ("SWITCH_CONFIG_FAILED", ("BAD_FLAGS", "BAD_LEN", "EPERM")),
    11: ("ROLE_REQUEST_FAILED", ("STALE", "UNSUP", "BAD_ROLE")),
    12: (
        "METER_MOD_FAILED",
        (
            "UNKNOWN",
            "METER_EXISTS",
            "INVALID_METER",
            "UNKNOWN_METER",
            "BAD_COMMAND",
            "BAD_FLAGS",
            "BAD_RATE",
            "BAD_BURST",
            "BAD_BAND",
            "BAD_BAND_VALUE",
            "OUT_OF_METERS",
            "OUT_OF_BANDS",
        ),
    ),
    13: (
        "TABLE_FEATURES_FAILED",
        ("BAD_TABLE", "BAD_METADATA", "BAD_TYPE", "BAD_LEN", "BAD_ARGUMENT", "EPERM"),
    ),
}
_BUNDLE_FIRST = 2300
_BUNDLE = (
    "UNKNOWN",
    "EPERM",
    "BAD_ID",
    "BUNDLE_EXIST",
    "BUNDLE_CLOSED",
    "OUT_OF_BUNDLES",
    "BAD_TYPE",
    "BAD_FLAGS",
    "MSG_BAD_LEN",
    "MSG_BAD_XID",
    "MSG_UNSUP",
    "MSG_CONFLICT",
    "MSG_TOO_MANY",
    "MSG_FAILED",
    "TIMEOUT",
    "BUNDLE_IN_PROGRESS",
)

# What the datapath behind a switch does not have (ofp-errors.h of Open vSwitch).
_NICIRA = 0x2320
_NICIRA_NAMES = {42: "BAD_ACTION/CT_DATAPATH_SUPPORT", 43: "BAD_MATCH/CT_DATAPATH_SUPPORT"}


def error_name(kind: int, code: int, experimenter: int | None = None) -> str:
    """`BAD_ACTION/BAD_OUT_GROUP`; numbers where there is no name. For an experimenter's error, `code` is
    its type."""
    if experimenter is not None:
        if experimenter == _ONF and _BUNDLE_FIRST <= code < _BUNDLE_FIRST + len(_BUNDLE):
            return f"BUNDLE_FAILED/{_BUNDLE[code - _BUNDLE_FIRST]}"
        if experimenter == _NICIRA and code in _NICIRA_NAMES:
            return _NICIRA_NAMES[code]
        return f"EXPERIMENTER {experimenter:#010x}/{code}"
    name, codes = _NAMES.get(kind, (f"TYPE {kind}", ()))
    return f"{name}/{codes[code] if code < len(codes) else f'CODE {code}'}"
