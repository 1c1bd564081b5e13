"""A world in one process and one seed: virtual time, no sockets, faults on purpose."""
