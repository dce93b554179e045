"""How long a kind of work may take, and how often it is tried."""

from datetime import timedelta

from temporalio import workflow
from temporalio.common import RetryPolicy

from workflows.queues import GATEWAYS, LIFECYCLES, MESSAGES, SETTLEMENTS

# Rows are written in the end, whatever happens meanwhile: no limit to the attempts.
DB_WRITE = workflow.ActivityConfig(
    start_to_close_timeout=timedelta(seconds=10),
    retry_policy=RetryPolicy(
        initial_interval=timedelta(milliseconds=200), maximum_interval=timedelta(seconds=10)
    ),
)
# The same from a workflow on a queue of its own, whose workers write no rows.
DB_WRITE_ELSEWHERE = workflow.ActivityConfig(task_queue=LIFECYCLES, **DB_WRITE)
# An order waits for the last word on its money as long as the gateway takes to give it.
SETTLE = workflow.ActivityConfig(
    task_queue=SETTLEMENTS,
    start_to_close_timeout=timedelta(seconds=60),
    retry_policy=RetryPolicy(
        initial_interval=timedelta(seconds=1), maximum_interval=timedelta(seconds=30)
    ),
)
# One order's answer out of many that wait behind it: who gives none is asked again after them.
TELL = workflow.ActivityConfig(
    task_queue=SETTLEMENTS,
    start_to_close_timeout=timedelta(seconds=15),
    retry_policy=RetryPolicy(initial_interval=timedelta(seconds=1), maximum_attempts=3),
)
GATEWAY = workflow.ActivityConfig(
    task_queue=GATEWAYS,
    start_to_close_timeout=timedelta(seconds=30),
    retry_policy=RetryPolicy(
        initial_interval=timedelta(seconds=1), maximum_interval=timedelta(minutes=1)
    ),
)
# A few times in a row; between the rounds the workflow can hear, and say that it takes too long.
REFUND = workflow.ActivityConfig(
    task_queue=GATEWAYS,
    start_to_close_timeout=timedelta(seconds=30),
    retry_policy=RetryPolicy(initial_interval=timedelta(seconds=1), maximum_attempts=5),
)
# Nobody wants to be rung an hour later.
DIAL = workflow.ActivityConfig(
    task_queue=MESSAGES,
    start_to_close_timeout=timedelta(seconds=60),
    schedule_to_close_timeout=timedelta(minutes=5),
    retry_policy=RetryPolicy(initial_interval=timedelta(seconds=2)),
)
MESSAGE = workflow.ActivityConfig(
    task_queue=MESSAGES,
    start_to_close_timeout=timedelta(seconds=30),
    retry_policy=RetryPolicy(
        initial_interval=timedelta(seconds=1),
        maximum_interval=timedelta(minutes=1),
        maximum_attempts=5,
    ),
)
# A bill is not out yet, or its gateway is away: every half hour, and not into the next night.
BILL = workflow.ActivityConfig(
    task_queue=GATEWAYS,
    start_to_close_timeout=timedelta(minutes=10),
    schedule_to_close_timeout=timedelta(hours=20),
    retry_policy=RetryPolicy(initial_interval=timedelta(minutes=30), backoff_coefficient=1),
)
# A look at all that runs.
LOOK = workflow.ActivityConfig(
    start_to_close_timeout=timedelta(minutes=10),
    schedule_to_close_timeout=timedelta(hours=20),
    retry_policy=RetryPolicy(
        initial_interval=timedelta(seconds=10), maximum_interval=timedelta(minutes=5)
    ),
)
