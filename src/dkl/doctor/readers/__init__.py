"""Readers of training logs, one format a file: each gives the series of a log and what was wrong with it."""
