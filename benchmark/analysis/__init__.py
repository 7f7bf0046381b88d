"""Curves, statistics and verdicts: pure functions of a `benchmark.study.model.Study`."""
