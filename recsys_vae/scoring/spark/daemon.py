"""What forks the Python workers of a session of our own: Spark's daemon, with the libraries loaded.

Spark's own daemon forks first and lets every worker import for itself, seconds each. Here the
libraries are there before the fork, so that it happens once and the workers share their memory; the
model's code is not, since each model brings its own.
"""

import gc
import importlib
import sys
from typing import Final

import recsys_vae

_LIBRARIES: Final = ("mlflow.pyfunc", "pyspark.worker", "scipy.sparse", "torch")


def main() -> None:
    """Import, then fork workers for as long as Spark asks for them."""
    for name in _LIBRARIES:
        importlib.import_module(name)
    ours = recsys_vae.__name__
    for name in [one for one in sys.modules if one == ours or one.startswith(f"{ours}.")]:
        del sys.modules[name]
    # Workers forget what folders and archives hold, and would read the archives' lists again.
    sys.path_importer_cache.clear()
    # What is here stays: the collections after each task need not look at it.
    gc.collect()
    gc.freeze()
    from pyspark.daemon import manager

    manager()


if __name__ == "__main__":
    main()
