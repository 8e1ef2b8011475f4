"""Tests of the engine that runs services as Pods of a Kubernetes cluster."""
