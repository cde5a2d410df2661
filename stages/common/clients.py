"""Settings of the libraries that reach buckets, before they are imported."""

import os


def calm_gcsfs() -> None:
    """Keeps gcsfs from asking for a bucket's type over gRPC, 60 s a call where nothing answers (gcsfs#843).

    It reads this when it is imported.
    """
    os.environ.setdefault("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")
