"""What pytest-isolate costs and what it gains, measured: `python -m benchmarks [name]` writes RESULTS.md."""
