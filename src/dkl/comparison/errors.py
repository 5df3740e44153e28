"""The one error that bad data raises."""


class DataError(ValueError):
    """Data that cannot be compared: one line naming the file or argument, the place, the value and the fix."""
