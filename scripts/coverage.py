"""How often intervals of this project hold the truth, by simulation.

    python scripts/coverage.py              # the table of docs/statistics.md: 2 minutes
    python scripts/coverage.py --draws 500

Every case draws samples of known truth, forms the interval that tables and figures show, and
counts. Beside them, as a warning: percentile bootstraps, and Student-t where log-normal data are
not put on the log scale.
"""

import argparse
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.stats import norm

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
    found = comparison.paired(shared + rng.normal(size=n) + 1, shared + rng.normal(size=n))
    return (float(found.low), float(found.high)), 1.0


def welch(rng: np.random.Generator, n: int) -> tuple[Interval, float]:
    """One method with four times the spread of the other."""
    found = comparison.unpaired(4 * rng.normal(size=n) + 1, rng.normal(size=n))
    return (float(found.low), float(found.high)), 1.0


def improvement(shift: float) -> Once:
    def once(rng: np.random.Generator, n: int) -> tuple[Interval, float]:
        found = comparison.improvement(rng.normal(size=n) + shift, rng.normal(size=n), True)
        return (found.low, found.high), float(norm.cdf(shift / np.sqrt(2)))

    return once


def improvement_bootstrap(rng: np.random.Generator, n: int) -> tuple[Interval, float]:
    x, y = rng.normal(size=n) + 1.5, rng.normal(size=n)
    better = (x[:, None] > y[None, :]).astype(float)
    rows, columns = rng.integers(0, n, (2, 500, n))
    shares = better[rows[:, :, None], columns[:, None, :]].mean(axis=(1, 2))
    low, high = np.quantile(shares, [0.025, 0.975])
    return (float(low), float(high)), float(norm.cdf(1.5 / np.sqrt(2)))


def share(
    chances: tuple[float, ...],
) -> Once:
    """Shares of n runs on each of several tasks, which have different chances of success."""

    def once(rng: np.random.Generator, n: int) -> tuple[Interval, float]:
        successes = int(rng.binomial(n, chances).sum())
        found = statistics.share_interval(successes, n * len(chances))
        return (float(found.low), float(found.high)), float(np.mean(chances))

    return once


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


MEAN, IQM = "mean, Student t", "IQM, Tukey-McLaughlin"
CASES = (
    Case(MEAN, "normal", one_sample(statistics.mean_interval, normal, 0.0), "exact"),
    Case("geometric mean, t on the log scale", "log-normal",
         one_sample(log_mean, lognormal, 1.0), "exact"),
    Case(MEAN, "normal with outliers",
         one_sample(statistics.mean_interval, outliers, 0.0), "approximate"),
    Case(MEAN, "log-normal",
         one_sample(statistics.mean_interval, lognormal, float(np.exp(0.5))), "warning"),
    Case("mean, percentile bootstrap", "normal", one_sample(bootstrap, normal, 0.0), "warning"),
    Case("median, order statistics", "log-normal",
         one_sample(statistics.median_interval, lognormal, 1.0), "at least"),
    Case(IQM, "normal", one_sample(statistics.iqm_interval, normal, 0.0), "approximate"),
    Case(IQM, "normal with outliers",
         one_sample(statistics.iqm_interval, outliers, 0.0), "approximate"),
    Case("difference, paired t", "normal, shared noise", paired, "exact"),
    Case("difference, Welch", "normal, spreads 4 : 1", welch, "approximate"),
    Case("probability of improvement, Newcombe", "normal, truth 0.50", improvement(0.0),
         "approximate"),
    Case("probability of improvement, Newcombe", "normal, truth 0.86", improvement(1.5),
         "approximate"),
    Case("probability of improvement, bootstrap", "normal, truth 0.86", improvement_bootstrap,
         "warning"),
    Case("share of runs, Wilson", "4 tasks, chances equal", share((0.7,) * 4), "approximate"),
    Case("share of runs, Wilson", "4 tasks, chances differ", share((0.1, 0.7, 0.95, 1.0)),
         "at least"),
    Case("expected running time, χ²", "exponential, 63 % reach it", running_time(1.0, 1.0),
         "at least"),
    Case("expected running time, χ²", "gamma, shape 4, 57 % reach it", running_time(4.0, 1.0),
         "at least"),
    Case("mean over tasks, Welch-Satterthwaite", "4 tasks, spreads 1 : 16", over_tasks,
         "approximate"),
)  # fmt: skip


def family(n: int, draws: int, rng: np.random.Generator) -> tuple[float, float]:
    """Share of families with a false claim when ten methods are all equal: with and without
    Holm's correction."""
    first, second = np.triu_indices(10, 1)
    x = rng.normal(size=(n, 10, draws))
    p = comparison.paired(x[:, first], x[:, second]).p
    corrected = [comparison.holm(column).min() < 0.05 for column in p.T]
    return float(np.mean(corrected)), float(np.mean(p.min(axis=0) < 0.05))


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
    print("\nFalse claims in % among ten equal methods, 45 pairs, paired t at 5 %\n")
    print("| | " + " | ".join(f"n = {n}" for n in SIZES) + " |")
    print("|---" * (1 + len(SIZES)) + "|")
    rates = [family(n, draws // 2, np.random.default_rng([99, n])) for n in SIZES]
    for name, column in (("Holm", 0), ("no correction", 1)):
        print(f"| {name} | " + " | ".join(f"{100 * rate[column]:.1f}" for rate in rates) + " |")


if __name__ == "__main__":
    main()
