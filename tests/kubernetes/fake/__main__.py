"""The process of a fake cluster: orders come as lines on standard input, answers go to standard output.

It ends, and removes all that it has on Docker, when its input ends: then the test that started it is over or dead.
"""

from __future__ import annotations

import argparse
import signal
import sys
from pathlib import Path

from kubernetes.fake.cluster import Cluster


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="where the kubeconfig, certificates and volumes are written")
    parser.add_argument(
        "--image", default="debian:bookworm-slim", help="any image with the program sleep, for kube-proxy"
    )
    parser.add_argument("--plain", action="store_true", help="plain HTTP")
    options = parser.parse_args()
    # Ctrl-C goes to the tests, too: they say when it is over.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    cluster = Cluster(options.folder, image=options.image, is_encrypted=not options.plain)
    try:
        print("ready", flush=True)
        for line in sys.stdin:
            print(cluster.obey(line), flush=True)
    finally:
        cluster.close()


if __name__ == "__main__":
    main()
