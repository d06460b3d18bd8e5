"""Where tests of a running controller find what those of the wire have: a switch made of a socket."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "openflow"))
