"""Fresh copies of a service's data: how they are named, made, kept ready, handed out and dropped."""
