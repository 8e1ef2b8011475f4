"""Registries of images, as the pods of a cluster pull from them."""
