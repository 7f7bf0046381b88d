"""Which tasks, methods, seeds and budgets: read from a file, checked, narrowed, made into runs."""

from benchmark.suite.file import load, shipped
from benchmark.suite.model import MethodEntry, Suite, SuiteError, TaskEntry
from benchmark.suite.selection import select

__all__ = ["MethodEntry", "Suite", "SuiteError", "TaskEntry", "load", "select", "shipped"]
