"""The length of an SMS, as carriers count it."""

_GSM_BASIC = frozenset(
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?"
    "¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà"
)
_GSM_ESCAPED = frozenset("^{}\\[~]|€\f")  # two septets each


def sms_segments(text: str) -> int:
    """How many SMS a text is charged as (3GPP TS 23.038): 160 or, in parts, 153 septets of the
    GSM alphabet; 70 or 67 UTF-16 units when one character is outside it, as in all Chinese."""
    if all(c in _GSM_BASIC or c in _GSM_ESCAPED for c in text):
        units = sum(2 if c in _GSM_ESCAPED else 1 for c in text)
        single, part = 160, 153
    else:
        units = len(text.encode("utf-16-be")) // 2
        single, part = 70, 67
    return 1 if units <= single else -(-units // part)
