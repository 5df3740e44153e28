"""The shipped example: January and July flights from New York, 2013 (see README.md beside this file)."""
