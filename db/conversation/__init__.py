"""What doctor and patient write to each other in a consultation: messages, and how far each side
has read."""

from db.conversation.messages import (
    Message,
    NewMessage,
    find_message,
    messages_after,
    write_message,
)
from db.conversation.news import Head, News, news_of
from db.conversation.readings import mark_read, readings_of, unread
from db.conversation.rows import ConsultationMessageRow, ConsultationReadingRow
from db.conversation.talks import Talk, find_talk

__all__ = [
    "ConsultationMessageRow",
    "ConsultationReadingRow",
    "Head",
    "Message",
    "NewMessage",
    "News",
    "Talk",
    "find_message",
    "find_talk",
    "mark_read",
    "messages_after",
    "news_of",
    "readings_of",
    "unread",
    "write_message",
]
