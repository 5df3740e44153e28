"""Scripts that make what the repository holds beside its code: tables, data, labelled runs."""
