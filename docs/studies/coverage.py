"""How often intervals of this project hold the truth, by simulation.

    python docs/studies/coverage.py              # the tables of docs/statistics.md: 3 minutes
    python docs/studies/coverage.py --draws 500

Every case draws samples of known truth, forms the interval that tables and figures show, and
counts. Beside them, as a warning: percentile bootstraps, and Student-t where log-normal data are
not put on the log scale.
"""

import argparse
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from benchmark.analysis import comparison, statistics

SIZES = (3, 5, 10, 20)
Draw = Callable[[np.random.Generator, int], np.ndarray]
Interval = tuple[float, float]
Once = Callable[[np.random.Generator, int], tuple[Interval, float]]
"""Draws a sample of n and returns its interval and the truth."""


@dataclass(frozen=True)
class Case:
    """An interval of one statistic on one distribution."""

    statistic: str
    data: str
    once: Once
    expected: str
    """`exact`, `at least` (conservative), `approximate`, or `warning` (not used here)."""

    def coverage(self, n: int, draws: int, rng: np.random.Generator) -> float:
        """Share of intervals that hold the truth; NaN where n is too small for any interval."""
        held = known = 0
        for _ in range(draws):
            (low, high), truth = self.once(rng, n)
            if not np.isnan(low):
                known += 1
                held += low <= truth <= high
        return held / known if known else float("nan")


def one_sample(
    interval: Callable[[np.ndarray], statistics.Estimate], draw: Draw, truth: float
) -> Once:
    def once(rng: np.random.Generator, n: int) -> tuple[Interval, float]:
        found = interval(draw(rng, n))
        return (float(found.low), float(found.high)), truth

    return once


def normal(rng: np.random.Generator, n: int) -> np.ndarray:
    return rng.normal(size=n)


def lognormal(rng: np.random.Generator, n: int) -> np.ndarray:
    """Logarithms of standard deviation 1: spread out more than FID over seeds is."""
    return rng.lognormal(0.0, 1.0, n)


def outliers(rng: np.random.Generator, n: int) -> np.ndarray:
    """Normal, but one in ten has ten times the spread."""
    return rng.normal(size=n) * np.where(rng.random(n) < 0.1, 10.0, 1.0)


def bootstrap(sample: np.ndarray) -> statistics.Estimate:
    """Percentile bootstrap of the mean, 500 resamples."""
    rng = np.random.default_rng(0)
    means = sample[rng.integers(0, len(sample), (500, len(sample)))].mean(axis=1)
    low, high = np.quantile(means, [0.025, 0.975])
    return statistics.Estimate(*map(np.asarray, (sample.mean(), low, high, len(sample))))


def paired(rng: np.random.Generator, n: int) -> tuple[Interval, float]:
    """Two methods whose runs share the larger part of their noise, one better by 1."""
    shared = 3 * rng.normal(size=n)
    differences = (shared + rng.normal(size=n) + 1) - (shared + rng.normal(size=n))
    _, low, high = statistics.mean_interval(differences).numbers
    return (low, high), 1.0


def welch(rng: np.random.Generator, n: int) -> tuple[Interval, float]:
    """One method with four times the spread of the other."""
    found = comparison.unpaired(4 * rng.normal(size=n) + 1, rng.normal(size=n))
    return (found.low, found.high), 1.0


def running_time(shape: float, budget: float) -> Once:
    """Times to a target with mean 1 (gamma of a shape; 1 is exponential), cut off at `budget`.

    The truth is what the estimate tends to: mean of min(time, budget) over P(time <= budget).
    """
    many = np.random.default_rng(0).gamma(shape, 1 / shape, 10**6)
    truth = float(np.minimum(many, budget).mean() / np.mean(many <= budget))

    def once(rng: np.random.Generator, n: int) -> tuple[Interval, float]:
        times = rng.gamma(shape, 1 / shape, n)
        successes = int((times <= budget).sum())
        found = statistics.running_time_interval(np.minimum(times, budget).sum(), successes, n)
        return (float(found.low), float(found.high)), truth

    return once


def over_tasks(rng: np.random.Generator, n: int) -> tuple[Interval, float]:
    """Normalised scores on four tasks whose spreads differ sixteenfold."""
    found = statistics.mean_of_means([s * rng.normal(size=n) for s in (0.25, 1, 1, 4)])
    return (float(found.low), float(found.high)), 0.0


def log_mean(sample: np.ndarray) -> statistics.Estimate:
    return statistics.mean_interval(sample, log=True)


MEAN = "mean, Student t"
CASES = (
    Case(MEAN, "normal", one_sample(statistics.mean_interval, normal, 0.0), "exact"),
    Case(
        "geometric mean, t on the log scale",
        "log-normal",
        one_sample(log_mean, lognormal, 1.0),
        "exact",
    ),
    Case(
        MEAN,
        "normal with outliers",
        one_sample(statistics.mean_interval, outliers, 0.0),
        "approximate",
    ),
    Case(
        MEAN,
        "log-normal",
        one_sample(statistics.mean_interval, lognormal, float(np.exp(0.5))),
        "warning",
    ),
    Case("mean, percentile bootstrap", "normal", one_sample(bootstrap, normal, 0.0), "warning"),
    Case("difference, paired t", "normal, shared noise", paired, "exact"),
    Case("difference, Welch", "normal, spreads 4 : 1", welch, "approximate"),
    Case(
        "expected running time, χ²",
        "exponential, 63 % reach it",
        running_time(1.0, 1.0),
        "at least",
    ),
    Case(
        "expected running time, χ²",
        "gamma, shape 4, 57 % reach it",
        running_time(4.0, 1.0),
        "at least",
    ),
    Case(
        "mean over tasks, Welch-Satterthwaite", "4 tasks, spreads 1 : 16", over_tasks, "approximate"
    ),
)


def pairs(n: int, draws: int, rng: np.random.Generator) -> tuple[float, float]:
    """Share of families with a false claim among all pairs of ten equal methods, by exact tests:
    with and without Holm's correction."""
    first, second = np.triu_indices(10, 1)
    return false_claims(rng.normal(size=(draws, n, 10)), first, second)


def planned(n: int, draws: int, rng: np.random.Generator) -> tuple[float, float]:
    """The same for three planned contrasts of one method, on noise with outliers that all share."""
    noise = outliers(rng, draws * n).reshape(draws, n, 1) + rng.normal(size=(draws, n, 4))
    return false_claims(noise, np.zeros(3, int), np.arange(1, 4))


def false_claims(x: np.ndarray, first: np.ndarray, second: np.ndarray) -> tuple[float, float]:
    """Shares with a corrected and with an uncorrected p below 5 %; `x` is `(draws, n, methods)`."""
    found = []
    for sample in x:
        p = [comparison.sign_flip(d) for d in (sample[:, first] - sample[:, second]).T]
        found.append((comparison.holm(p).min() < 0.05, min(p) < 0.05))
    corrected, plain = np.mean(found, axis=0)
    return float(corrected), float(plain)


def power(n: int, draws: int, rng: np.random.Generator) -> tuple[float, float]:
    """Share of three planned contrasts that are won, where the method is better by 1.5 standard
    deviations of a difference: exact tests with Holm, and without correction."""
    won = []
    for _ in range(draws):
        p = [comparison.sign_flip(rng.normal(1.5, 1.0, n)) for _ in range(3)]
        won.append([(comparison.holm(p) < 0.05).mean(), (np.array(p) < 0.05).mean()])
    corrected, plain = np.mean(won, axis=0)
    return float(corrected), float(plain)


RATES = (
    ("False claims in %: three planned contrasts among equal methods", planned, 5),
    ("False claims in %: all 45 pairs of ten equal methods", pairs, 20),
    ("Planned contrasts won in %: better by 1.5 standard deviations", power, 5),
)
"""Title, simulation, and how many times fewer draws it takes."""
SEEDS = (5, 6, 8, 10)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--draws", type=int, default=10000, help="samples per cell")
    draws = parser.parse_args().draws
    error = 100 * np.sqrt(0.05 * 0.95 / draws)
    print(f"Coverage in %, nominal 95; {draws} draws, standard error {error:.1f} at 95\n")
    print("| interval | data | " + " | ".join(f"n = {n}" for n in SIZES) + " |")
    print("|---" * (2 + len(SIZES)) + "|")
    for index, case in enumerate(CASES):
        found = [case.coverage(n, draws, np.random.default_rng([index, n])) for n in SIZES]
        cells = ["-" if np.isnan(share) else f"{100 * share:.1f}" for share in found]
        print(f"| {case.statistic} | {case.data} | " + " | ".join(cells) + " |", flush=True)
    for number, (title, simulate, fewer) in enumerate(RATES):
        print(f"\n{title}; {draws // fewer} draws\n")
        print("| exact sign-flip test | " + " | ".join(f"n = {n}" for n in SEEDS) + " |")
        print("|---" * (1 + len(SEEDS)) + "|")
        rates = [simulate(n, draws // fewer, np.random.default_rng([number, n])) for n in SEEDS]
        for name, column in (("Holm", 0), ("no correction", 1)):
            cells = " | ".join(f"{100 * rate[column]:.1f}" for rate in rates)
            print(f"| {name} | {cells} |", flush=True)


if __name__ == "__main__":
    main()
