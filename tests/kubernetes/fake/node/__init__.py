"""The node: containers of Pods, and the addresses of Services."""
