"""How a Chinese name is typed on a Latin keyboard. Apart, because its dictionary takes half a
second to import and only whoever creates a doctor needs it."""

from pypinyin import Style, lazy_pinyin, pinyin


def search_words(name: str) -> str:
    """`张三` → `zhangsan zs`: whole syllables, then initials, lower case.

    Surnames are often read otherwise than the same character elsewhere (单 shan, 曾 zeng), so every
    reading of the first character is there.
    """
    name = "".join(name.split()).lower()
    if not name:
        return ""
    readings = pinyin(name[0], style=Style.NORMAL, heteronym=True, v_to_u=False)[0]
    rest = lazy_pinyin(name[1:], style=Style.NORMAL)
    words: dict[str, None] = {}
    for first in readings:
        syllables = [first, *rest]
        words["".join(syllables)] = None
        words["".join(syllable[0] for syllable in syllables)] = None
    return " ".join(words)
