"""Which build of the hospital this process runs."""

import os

# Named, it spares the workers from hashing every module at their start.
BUILD = os.environ.get("HOSPITAL_BUILD", "development")
