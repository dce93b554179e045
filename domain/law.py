"""The law as data: the rules of the profile `cn-2022` that this hospital keeps, and what says so.

A refusal that comes from a rule carries its id (`rule` of the problem document). Rules that refuse
nothing say what is kept. Those marked `read=False` were taken from a secondary source: read the
article before you rely on it.
"""

from dataclasses import dataclass, field
from datetime import timedelta

PROCESS_KEPT = timedelta(days=3 * 366)
"""R16: what was said, shown and called in a consultation is kept for three years at least."""


@dataclass(frozen=True)
class Rule:
    """One rule. `codes` are the refusals that it is the reason of."""

    id: str
    article: str
    effect: str
    codes: frozenset[str] = field(default=frozenset())
    read: bool = False  # the article itself was


RULES = (
    Rule(
        "R01",
        "互联网诊疗管理办法(试行) 第二条",
        "A diagnosis is for a follow-up (复诊) alone; advice (咨询) has none.",
        frozenset({"diagnosis_not_allowed"}),
        read=True,
    ),
    Rule(
        "R03",
        "互联网诊疗监管细则(试行) 2022",
        "A follow-up needs evidence, and is accepted with the doctor's recorded judgement.",
        frozenset({"evidence_missing", "judgement_missing"}),
    ),
    Rule(
        "R04",
        "互联网诊疗监管细则(试行) 2022",
        "What is unsuitable online is ended with a reason, sent to a hospital, and costs nothing.",
    ),
    Rule(
        "R07",
        "互联网诊疗管理办法(试行) 第二十五条",
        "A doctor has a valid licence, three years of practice and the institution's consent.",
        frozenset(
            {
                "licence_expired",
                "licence_missing",
                "too_few_years",
                "institution_consent_missing",
            }
        ),
        read=True,
    ),
    Rule(
        "R16",
        "(天津) 第二十一条",
        "Records are never thrown away, and what happened in a consultation not before 3 years.",
        read=True,
    ),
    Rule(
        "R17",
        "互联网诊疗管理办法(试行) 第二十四条",
        "Every move is in the order's timeline and every reading of another's data in the log.",
        read=True,
    ),
    Rule(
        "R20",
        "互联网诊疗监管细则(试行) 2022",
        "Nobody is treated before today's text of consent was accepted, a minor's guardian's too.",
        frozenset({"consent_missing", "consent_outdated"}),
    ),
)
RULE_OF = {code: rule.id for rule in RULES for code in rule.codes}
