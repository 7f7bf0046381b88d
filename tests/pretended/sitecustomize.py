"""Runs as Python starts with this folder on its path."""

import os

if "PRETENDED_GPUS" in os.environ:
    import pretended_gpu

    pretended_gpu.enter(int(os.environ["PRETENDED_GPUS"]))
