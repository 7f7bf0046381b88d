"""What real images get in the panel of unseen feature spaces, as Markdown.

    python docs/studies/panel_floors.py digits mnist14 --samples 2000

Images of the train split take the place of generated ones, as many as a task would measure.
"""

import argparse

from tasks.metrics.panel import SPACES, Panel

MEASURES = ("frechet", "kernel", "precision", "recall", "density", "coverage")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("datasets", nargs="+")
    parser.add_argument("--samples", type=int, default=2000)
    arguments = parser.parse_args()
    print("| data, images, neighbours | space | " + " | ".join(MEASURES) + " |")
    print("|---|---|" + "---|" * len(MEASURES))
    for dataset in arguments.datasets:
        panel = Panel(dataset, arguments.samples)
        floor = panel.floor()
        for space in SPACES:
            cells = [f"{floor[f'{measure}_{space}']:.3g}" for measure in MEASURES]
            about = f"{dataset}, {panel.count}, {panel.neighbours}"
            print(f"| {about} | {space} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
