"""Which worker answers what. A queue is a kind of work that can be scaled and stopped alone."""

LIFECYCLES = "lifecycles"  # workflows, and the activities that write rows or move money
MESSAGES = "messages"  # what goes out to people; rate-limited
