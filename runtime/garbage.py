"""When Python looks for garbage that holds itself (gc), in processes that people wait for.

Left alone it looks through everything that was imported, 250,000 objects, again and again: 160 ms
in which an API process answers nobody, and in a relay with its cache of workflows up to a second.
"""

import gc

THRESHOLDS = (10_000, 10, 10)
"""Containers made and not freed before the young are looked through, then how many times that
before the next generation is. At most a million wait for the last, about 100 MB."""


def settle_garbage() -> None:
    """Call it once all is loaded: what lives by then lives as long as the process, and is not
    looked through any more."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*THRESHOLDS)
