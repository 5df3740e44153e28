"""The command line: what the library measures, as text for people and JSON for programs."""
