"""Alembic's entry: `./hospital migrate` passes a connection in."""

from alembic import context

import db.account
import db.allergy
import db.appointment
import db.catalogue
import db.consent
import db.consultation
import db.conversation
import db.credential
import db.duty
import db.file
import db.journal
import db.message
import db.outbox
import db.payment
import db.phone_call
import db.reconciliation
import db.reply_template
import db.video
import db.work_item  # noqa: F401  (imported so that every table is known)
from db.base import Base

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    compare_server_default=False,
)
with context.begin_transaction():
    context.run_migrations()
