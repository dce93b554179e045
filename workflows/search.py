"""Search attributes: what operators filter orders by in the Temporal web UI.

They are stored in the clear, so they hold ids and codes alone. One that is not registered in the
namespace wedges the workflow that sets it: `runtime.temporal.register_search_attributes`.
"""

from temporalio.common import SearchAttributeKey

ORDER_STATUS = SearchAttributeKey.for_keyword("OrderStatus")  # the order's own status word
WAITING_FOR = SearchAttributeKey.for_keyword("WaitingFor")  # payment, patient, visit, …
DUE_AT = SearchAttributeKey.for_datetime("DueAt")  # when that waiting ends by itself
DEPARTMENT_ID = SearchAttributeKey.for_int("DepartmentId")
DOCTOR_ID = SearchAttributeKey.for_int("DoctorId")

# The server's own: which builds have worked on it. Said at the start, it need not be added later.
BUILD_IDS = SearchAttributeKey.for_keyword_list("BuildIds")

ALL = (ORDER_STATUS, WAITING_FOR, DUE_AT, DEPARTMENT_ID, DOCTOR_ID)
