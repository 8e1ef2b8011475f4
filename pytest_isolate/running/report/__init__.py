"""The page of --isolate-report: recorded in every process of a run, put together and rendered by the controller."""
