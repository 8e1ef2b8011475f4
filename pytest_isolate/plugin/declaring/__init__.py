"""Declarations of users, as fixtures of pytest's."""
