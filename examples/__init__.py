"""Models trained with a KL term, small enough to watch: each a module that ``python -m examples.NAME`` runs."""
