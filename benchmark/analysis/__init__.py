"""Curves, statistics, tables and figures: pure functions of a `benchmark.study.results.Results`."""
