"""Samplers and building blocks shared by the task families."""
