"""A suite file for tests to spoil."""

GOOD = """\
seeds = 2
hard_limit = 3600
[[tasks]]
name = "finetune/gaussian"
budget = 0.001
[[methods]]
name = "random"
[[methods]]
name = "grid"
label = "grid-9"
options = { levels = 9 }
tasks = ["finetune/*"]
"""
