"""An API server of Kubernetes whose Pods are real containers of the local Docker.

It runs as a process of its own: `handle.FakeCluster` starts it, gives it orders and ends it. `api` answers requests
as the real server does, `node` makes containers of Pods and carries the traffic of Services, `streams` speaks exec,
attach, logs and port-forward. Missing are probes of the kubelet, volumes of disks, NetworkPolicy, a cluster's DNS,
and a scheduler that chooses: there is one node.

Addresses: all Pods of a fake cluster are on one Docker network of its own. The upper half of its subnet is for
Services. One more container on that network stands for kube-proxy: a process of ours runs in its network namespace,
listens there on the addresses of the Services, and connects on to Pods. Policy routes of that namespace drop what
goes to ports that no Service declares, so that connections there hang. Neither the host's routes nor any iptables are
changed. The host reaches these addresses, too. To enter the namespaces of containers needs root, as the kubelet does.
"""
