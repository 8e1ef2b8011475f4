"""The page that `--isolate-report` writes."""
