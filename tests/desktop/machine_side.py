"""The virtual machine's side of the stand-in, run beside the engine: `python3 -m desktop.machine_side FOLDER`.

In the folder, which both sides share: `docker.sock` is the engine, `machine` dials ports of the machine, and `host` is
the host's side, which dials ports of the host.
"""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
from pathlib import Path

from desktop.wires import dial_path, dial_port, listen_at, serve, serve_ports, splice

# The address that containers know as host-gateway; see the Dockerfile.
_HOST_GATEWAY = "192.168.65.254"
_ENGINE = Path("/var/run/docker.sock")
_SO_ORIGINAL_DST = 80  # linux/netfilter_ipv4.h


def main(folder: Path) -> None:
    """Serve until the container ends."""

    def ask_engine(client: socket.socket) -> None:
        with dial_path(_ENGINE) as engine:
            splice(client, engine)

    def bring_to_host(client: socket.socket) -> None:
        meant = client.getsockopt(socket.SOL_IP, _SO_ORIGINAL_DST, 16)
        with dial_port(folder / "host", int.from_bytes(meant[2:4], "big")) as sock:
            splice(client, sock)

    serve(listen_at(folder / "docker.sock"), ask_engine)
    serve_ports(folder / "machine")
    gate = socket.create_server(("0.0.0.0", 0))
    redirect = ["-d", _HOST_GATEWAY, "-p", "tcp", "-j", "REDIRECT", "--to-ports", str(gate.getsockname()[1])]
    subprocess.run(["iptables", "-t", "nat", "-A", "PREROUTING", *redirect], check=True)
    serve(gate, bring_to_host)
    threading.Event().wait()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
