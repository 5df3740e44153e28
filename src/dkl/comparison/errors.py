"""The errors that bad data and wrong column names raise."""


class DataError(ValueError):
    """Data that cannot be compared: one line naming the file or argument, the place, the value and the fix."""


class ColumnError(DataError):
    """Columns were asked for by name that the data do not have."""
