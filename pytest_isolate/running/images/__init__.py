"""Images: pulled, built, snapshotted, saved and loaded."""
