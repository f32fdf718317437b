"""Real hosts in network namespaces: real NAT, real TUN devices, real packets."""
