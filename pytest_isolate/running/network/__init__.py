"""Networks, addresses, ports and volumes."""
