"""Online consultations: their rows, their birth, their moves, and how people see them."""

from db.consultation.births import NewConsultation, create_consultation
from db.consultation.moves import enter_visit, record_move
from db.consultation.notes import Note, NoteKind, notes_of, write_note
from db.consultation.orders import (
    Consultation,
    ConsultationFilter,
    Visit,
    Waiting,
    earlier_visits,
    find_consultation,
    find_consultation_by_number,
    in_department,
    list_consultations,
    may_accept,
    rate,
    waiting_of,
)
from db.consultation.rows import ConsultationNoteRow, ConsultationRow, HealthRecordRow
from db.consultation.starts import PROGRESS, TERMS, load_consultations

__all__ = [
    "PROGRESS",
    "TERMS",
    "Consultation",
    "ConsultationFilter",
    "ConsultationNoteRow",
    "ConsultationRow",
    "HealthRecordRow",
    "NewConsultation",
    "Note",
    "NoteKind",
    "Visit",
    "Waiting",
    "create_consultation",
    "earlier_visits",
    "enter_visit",
    "find_consultation",
    "find_consultation_by_number",
    "in_department",
    "list_consultations",
    "load_consultations",
    "may_accept",
    "notes_of",
    "rate",
    "record_move",
    "waiting_of",
    "write_note",
]
