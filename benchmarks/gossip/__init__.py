"""Gossip over real UDP: a runner without daemon or TUN, and what it is measured beside."""
