"""The kinds of figures, each the answer to one question; see `benchmark.display.figures`."""
