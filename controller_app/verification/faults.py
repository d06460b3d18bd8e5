"""What Open vSwitch 3.1 does wrong with headers, each found on the userspace datapath, and what is said of it here.

Putting a header on is done late: with the next thing that is really done to the packet, such as sending it. And to
see what is behind a header that was taken off, the packet goes through the switch anew, with the rest of all lists.
In copies of a packet this goes wrong:

- a clone that puts an NSH on and then does nothing to the packet (its port is gone, nothing of its group is up)
  makes ovs-vswitchd abort as soon as something is done to the packet itself; so does check_pkt_larger() with such a
  rest, which is run for both answers. (`pending_encap` in ofproto-dpif-xlate.c.) check_pkt_larger() right after
  putting the NSH on keeps it from that: it is something done to the packet;
- a clone in whose tables, not in its own list, an NSH is put on leaves it on the packet itself; so does a bucket.
  check_pkt_larger() as a clone's first action keeps it from that;
- a clone in which the packet goes through anew ends all that was to come after it, in every list. That is so when
  an NSH is taken off, and when the last MPLS label is and then anything but an output follows;
- when nothing is left to be done after an NSH was taken off, the switch starts over at table 0.

Such a packet ends here with one of these reasons, where something would still have been done to it.
"""

from __future__ import annotations

ABORTS = "Open vSwitch 3.1 aborts: an NSH was put on in a clone that sent nothing"
STARTS_OVER = "after taking an NSH off nothing is left to do: the switch starts over, with the inner frame"
MANGLED = "an NSH put on, or a header taken off, behind a group's bucket or a clone's resubmit stays so afterwards"
FORGETS = "a header was taken off in a clone: Open vSwitch 3.1 does nothing of what should come after that"
UNSAFE = frozenset({ABORTS, STARTS_OVER, MANGLED, FORGETS})  # ends that a switch comes to in a way of its own
