"""The command line, less the figures and the report at the end of a run: what tests of workers and
clusters need. `python tests/engine/undrawn.py run ...`."""

from benchmark import cli
from benchmark.study import results

if __name__ == "__main__":
    cli.running.conclude = lambda folder: results.save_frame(results.load(folder))
    cli.main()
