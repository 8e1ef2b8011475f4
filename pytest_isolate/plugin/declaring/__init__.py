"""What users declare, as fixtures of pytest's."""
