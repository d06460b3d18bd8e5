"""What the network says about itself: switches, ports, links, hosts. No sockets, no clocks."""
