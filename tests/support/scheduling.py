"""Which tests go to the same process when several share the work."""

from xdist.scheduler import LoadScopeScheduling

# Tests of a house that takes seconds to start, by the house they are in.
HOUSES = {
    "tests/e2e/test_tour.py": "whole house",
    "tests/e2e/test_consultations.py": "whole house",
    "tests/e2e/test_privacy.py": "whole house",
    "tests/e2e/test_bad_luck.py": "shaken house",
    "tests/e2e/test_kills.py": "shaken house",
    "tests/e2e/test_stop_clinic.py": "shaken house",
    "tests/e2e/test_work_items.py": "whole house",
}


class ByHouse(LoadScopeScheduling):
    """Each test goes where there is room, those of one house together, and those first."""

    def _split_scope(self, nodeid: str) -> str:
        return HOUSES.get(nodeid.partition("::")[0], nodeid)
