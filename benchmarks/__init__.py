"""How fast and how right dkl is beside its peers: ``python -m benchmarks`` (docs/benchmarks.md says what it prints)."""
