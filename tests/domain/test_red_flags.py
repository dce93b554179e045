"""The shipped red flags against what people write. A rule without a line here fails a test.

Where a sentence could be either (soreness over the chest after sport), the flag is expected: who is
sent to hospital for nothing loses an afternoon.
"""

import time

import pytest

from domain.account import Gender
from domain.red_flags import Severity, red_flags_in
from runtime.red_flags import load_red_flags

RULES = load_red_flags()
F, M = Gender.FEMALE, Gender.MALE

RAISED = [
    ("胸口疼", "chest_pain"),
    ("我爸胸痛半小时，出冷汗", "chest_pain"),
    ("心口像压了块石头，喘不匀", "chest_pain"),
    ("胸前区压榨样疼痛，放射到左肩", "chest_pain"),
    ("左胸一阵一阵地刺痛", "chest_pain"),
    ("胸悶，左手發麻", "chest_pain"),
    ("胸 口 疼 两 天 了", "chest_pain"),
    ("胸口这里突然很疼", "chest_pain"),
    ("后背撕裂样疼", "chest_pain"),
    ("ＣＨＥＳＴ　ＰＡＩＮ since morning", "chest_pain"),
    ("My chest feels tight and heavy", "chest_pain"),
    ("pressure in the middle of my chest", "chest_pain"),
    ("运动后胸口有点酸痛", "chest_pain"),  # may well be a muscle
    ("左臂又麻又痛，一直出冷汗", "chest_pain"),
    ("早上起来口角歪斜", "stroke"),
    ("嘴巴突然歪了", "stroke"),
    ("半边身子没劲", "stroke"),
    ("右侧手脚麻木", "stroke"),
    ("说话突然含糊不清", "stroke"),
    ("老人話說不清", "stroke"),
    ("左胳膊抬不起来了", "stroke"),
    ("突然走不稳，站不住", "stroke"),
    ("face drooping on one side and slurred speech", "stroke"),
    ("sudden weakness of my left arm, weakness on the left side", "stroke"),
    ("喘不上气", "severe_breathing_difficulty"),
    ("透不過氣來", "severe_breathing_difficulty"),
    ("哮喘犯了，喘得厉害", "severe_breathing_difficulty"),
    ("孩子嘴唇发紫", "severe_breathing_difficulty"),
    ("被花生卡住了，咳不出来", "severe_breathing_difficulty"),
    ("I can't breathe", "severe_breathing_difficulty"),
    ("I can’t breathe", "severe_breathing_difficulty"),
    ("无法呼吸了，快点", "severe_breathing_difficulty"),
    ("i cant breathe", "severe_breathing_difficulty"),
    ("lips turned blue", "severe_breathing_difficulty"),
    ("吃了海鲜过敏，嘴唇肿，头晕", "anaphylaxis"),
    ("打完针全身起疹子，心慌", "anaphylaxis"),
    ("喉咙肿得堵住了", "anaphylaxis"),
    ("allergic reaction, lips swollen", "anaphylaxis"),
    ("吐血了", "severe_bleeding"),
    ("吐出来都是咖啡色的东西", "severe_bleeding"),
    ("拉黑便，还头晕站不起来", "severe_bleeding"),
    ("伤口的血止不住", "severe_bleeding"),
    ("咳出大口血", "severe_bleeding"),
    ("black stool and I feel faint", "severe_bleeding"),
    ("vomiting blood", "severe_bleeding"),
    ("我妈昏倒了，叫不醒", "loss_of_consciousness"),
    ("突然暈過去一次", "loss_of_consciousness"),
    ("没有意识了", "loss_of_consciousness"),
    ("he passed out twice", "loss_of_consciousness"),
    ("孩子发烧抽搐", "seizure"),
    ("口吐白沫，两眼上翻", "seizure"),
    ("羊癫疯犯了", "seizure"),
    ("had a seizure at school", "seizure"),
    ("从三楼阳台上坠下", "severe_injury"),
    ("骑车被车撞了", "severe_injury"),
    ("孩子头磕到桌角，吐了两次", "severe_injury"),
    ("热油烫伤，面积很大", "severe_injury"),
    ("hit his head and is vomiting", "severe_injury"),
    ("吃了一整瓶安眠药", "poisoning"),
    ("孩子误吞纽扣电池", "poisoning"),
    ("喝了半瓶农药", "poisoning"),
    ("一氧化碳中毒？烧炭后头晕", "poisoning"),
    ("she took an overdose", "poisoning"),
    ("活着没意思，不想活了", "suicidal_intent"),
    ("想自杀", "suicidal_intent"),
    ("I want to kill myself", "suicidal_intent"),
    ("I don't want to live any more", "suicidal_intent"),
    ("肚子疼得打滚", "acute_abdomen"),
    ("突然腹痛，疼得厉害", "acute_abdomen"),
    ("腹部剧痛，硬得像板", "acute_abdomen"),
    ("肚子痛三天，不排气", "acute_abdomen"),
    ("severe stomach pain, can't stand", "acute_abdomen"),
    ("两个月大的宝宝发烧38.5", "infant_fever"),
    ("一个多月的孩子发高烧", "infant_fever"),
    ("newborn with fever", "infant_fever"),
    ("发烧三天，脖子僵硬", "meningitis"),
    ("孩子身上的疹子压不褪色", "meningitis"),
    ("fever and a stiff neck", "meningitis"),
    ("突发剧烈头痛", "thunderclap_headache"),
    ("头痛，从来没这么痛过", "thunderclap_headache"),
    ("worst headache of my life", "thunderclap_headache"),
    ("怀孕8周，下面出血", "obstetric_emergency"),
    ("孕32周，头痛厉害，眼花，血压高", "obstetric_emergency"),
    ("胎动消失一天了", "obstetric_emergency"),
    ("羊水破了", "obstetric_emergency"),
    ("pregnant and bleeding", "obstetric_emergency"),
    ("右眼突然看不见了", "sudden_sight_loss"),
    ("洁厕灵溅进眼睛", "sudden_sight_loss"),
    ("suddenly went blind in one eye", "sudden_sight_loss"),
    ("睾丸突然很疼", "testicular_torsion"),
    ("蛋疼，肿得厉害", "testicular_torsion"),
    ("pain in my left testicle", "testicular_torsion"),
    ("糖尿病人，呕吐，呼吸有烂苹果味", "diabetic_crisis"),
    ("打了胰岛素，出冷汗手抖", "diabetic_crisis"),
    ("diabetic, vomiting and confused", "diabetic_crisis"),
    ("高烧不退，开始说胡话", "sepsis"),
    ("fever, confused, no urine", "sepsis"),
    # Denied is something else than the flag
    ("没有好转的胸痛", "chest_pain"),
    ("胸痛没有缓解", "chest_pain"),
    ("胸痛：无缓解", "chest_pain"),
    ("无明显诱因胸痛3小时", "chest_pain"),
    ("没有发烧，胸口疼", "chest_pain"),
    ("没有发烧胸口疼", "chest_pain"),
    ("没事突然胸痛", "chest_pain"),
    ("没有力气，胸痛", "chest_pain"),
    ("是不是心梗", "chest_pain"),
    ("不是心梗吧", "chest_pain"),
    ("不能排除心绞痛", "chest_pain"),
    ("不仅胸痛还咳嗽", "chest_pain"),
    ("没有咳嗽，但是喘不上气", "severe_breathing_difficulty"),
    ("无胸痛，呼吸困难", "severe_breathing_difficulty"),
    ("不停呕血", "severe_bleeding"),
    ("no relief of my chest pain", "chest_pain"),
    ("no fever. chest pain for an hour", "chest_pain"),
    ("not only chest pain", "chest_pain"),
    ("no fever, but shortness of breath", "severe_breathing_difficulty"),
    # Never so before
    ("从来没有过的剧烈头痛", "thunderclap_headache"),
    ("从没有过这样的头痛", "thunderclap_headache"),
    ("從來沒有過這樣的頭痛", "thunderclap_headache"),
    ("剧烈头痛，以前从来没有过", "thunderclap_headache"),
    ("从来没有头痛得这么厉害", "thunderclap_headache"),
    ("头从来没这么疼过", "thunderclap_headache"),
    ("活了五十年第一次头这么疼", "thunderclap_headache"),
    ("头疼得受不了，以前没这样过", "thunderclap_headache"),
    ("I've never had a headache like this before", "thunderclap_headache"),
    ("headache all morning, worst ever", "thunderclap_headache"),
    ("以前没有过胸痛,今天第一次胸痛", "chest_pain"),
    ("以前没有过胸痛,今天第一次", "chest_pain"),
    ("从没胸痛过，身体很好，昨晚突然就这样了", "chest_pain"),
    ("我以前没有胸闷的，这两天开始有了", "chest_pain"),
    ("平时没有抽搐，今天第一次", "seizure"),
    ("从来没晕倒过，今天头一次", "loss_of_consciousness"),
    ("I have never had chest pain like this", "chest_pain"),
    ("Never had chest pain before", "chest_pain"),
    # Said with another word between, or in another order
    ("呼吸很困难", "severe_breathing_difficulty"),
    ("呼吸特别困难", "severe_breathing_difficulty"),
    ("呼吸越来越困难", "severe_breathing_difficulty"),
    ("喘不上来气", "severe_breathing_difficulty"),
    ("喘不过来气", "severe_breathing_difficulty"),
    ("吸不上气", "severe_breathing_difficulty"),
    ("气都上不来了", "severe_breathing_difficulty"),
    ("躺下就喘气费劲", "severe_breathing_difficulty"),
    ("喘得不行", "severe_breathing_difficulty"),
    ("can't catch my breath", "severe_breathing_difficulty"),
    ("having trouble catching my breath", "severe_breathing_difficulty"),
    ("couldn’t get enough air", "severe_breathing_difficulty"),
    ("breathing is getting very difficult", "severe_breathing_difficulty"),
    ("I can barely breathe", "severe_breathing_difficulty"),
    ("胸很闷", "chest_pain"),
    ("神志不太清楚", "loss_of_consciousness"),
    # Discomfort of the chest is enough; that of the heart, which may be sorrow, with a sign
    ("胸口不舒服,出冷汗", "chest_pain"),
    ("胸口难受", "chest_pain"),
    ("心前区不适", "chest_pain"),
    ("心脏不舒服,冒冷汗", "chest_pain"),
    ("心里难受得很，浑身冒汗", "chest_pain"),
    ("my chest feels weird and I'm sweating", "chest_pain"),
    ("左手左脚没劲了", "stroke"),
    ("半个身子没知觉", "stroke"),
    ("突然不会说话", "stroke"),
    ("右腿突然使不上劲", "stroke"),
    ("说话有点不清楚了", "stroke"),
    ("右手没有力气", "stroke"),  # may well be the elbow
    ("my dad can't move his left arm", "stroke"),
    ("half of my face is numb", "stroke"),
    ("吃了一百片安眠药", "poisoning"),
    ("吃了30片安眠药", "poisoning"),
    ("吃了好多安眠药", "poisoning"),
    ("安眠药一下吃了三十多片", "poisoning"),
    ("一口气吞了几十粒药", "poisoning"),
    ("吃了半瓶安眠药", "poisoning"),
    ("采了蘑菇吃，一直吐", "poisoning"),
    ("I took too many sleeping pills", "poisoning"),
    ("she swallowed 40 tablets", "poisoning"),
    ("took the whole bottle of pills", "poisoning"),
    ("想从楼上跳下去", "suicidal_intent"),
    ("想结束这一切", "suicidal_intent"),
    ("站在天台上想往下跳", "suicidal_intent"),
    ("I want to end it all", "suicidal_intent"),
    ("thinking of jumping off a bridge", "suicidal_intent"),
    ("吐了好多血", "severe_bleeding"),
    ("大便全是血", "severe_bleeding"),
    ("鼻子流血流个不停", "severe_bleeding"),
    ("咳了几口血", "severe_bleeding"),
    ("can't stop the bleeding", "severe_bleeding"),
    ("vomited a lot of blood", "severe_bleeding"),
    ("my nosebleed won't stop", "severe_bleeding"),
    ("被开水烫了起大泡", "severe_injury"),
    ("孩子烫到了，皮都掉了", "severe_injury"),
    ("孩子从床上摔下来,一直睡", "severe_injury"),
    ("baby fell off the bed and keeps sleeping", "severe_injury"),
    # Begins with a denial and is none
    ("没有呼吸", "severe_breathing_difficulty"),
    ("没有呼吸了", "severe_breathing_difficulty"),
    ("孩子没呼吸了", "severe_breathing_difficulty"),
    ("没有意识", "loss_of_consciousness"),
    ("没有心跳", "loss_of_consciousness"),
    ("孩子叫不醒没有反应", "loss_of_consciousness"),
    ("没有反应", "loss_of_consciousness"),
    ("孩子吃药后没有反应", "loss_of_consciousness"),  # may well be no reaction to it
    ("拍他没反应", "loss_of_consciousness"),
    ("she is not responding", "loss_of_consciousness"),
    ("吃完虾嗓子肿了", "anaphylaxis"),
    ("嗓子肿，喘", "anaphylaxis"),
    ("throat swollen, hives all over", "anaphylaxis"),
    # A person of that age is named
    ("宝宝，40天，体温38.2℃", "infant_fever"),
    ("出生二十天，发热", "infant_fever"),
    ("2.5个月的宝宝烧到38.3", "infant_fever"),
    ("my 6-week-old has a fever", "infant_fever"),
    ("only a few weeks old, fever", "infant_fever"),
    ("宝宝不吃奶，精神差", "gravely_ill_child"),
]

NOT_RAISED = [
    "",
    "   \n。，！",
    "没有胸痛",
    "无胸痛",
    "没有明显胸痛",
    "否认胸痛",
    "从没胸痛过",
    "胸口不疼",
    "胸痛：无",
    "胸痛（－），咳嗽三天",
    "没有胸痛、胸闷、气短",
    "没有胸闷胸痛",
    "无胸痛、呼吸困难",
    "无发热、咳嗽、胸痛",
    "无抽搐及意识不清",
    "没有想自杀",
    "没有自杀",
    "未出现呕血",
    "不伴呼吸困难",
    "no chest pain",
    "No chest pain or shortness of breath.",
    "denies chest pain",
    "doesn't have chest pain",
    "never had a seizure, without any seizures",
    "chest pain: no",
    "no history of stroke",
    "感冒流鼻涕三天",
    "咳嗽，有点痰",
    "高血压复诊开药",
    "头痛好几天，睡眠不好",
    "孩子发烧38度，精神好",
    "十一个月大的宝宝发烧",
    "咳嗽发烧一个多月",
    "没有意识障碍，头晕",
    "肚子有点胀，消化不好",
    "胃痛，反酸一个月",
    "健身后胸肌酸痛",  # named as the muscle
    "手指被纸划破一点",
    "膝盖疼，上下楼费劲",
    "皮肤痒，起了几个疹子",
    "月经推迟五天",
    "怀孕12周，想问叶酸怎么吃",
    "糖尿病复诊，血糖控制得好",
    "视力慢慢下降，想配眼镜",
    "中风后遗症康复咨询",
    "预防中风吃什么好",
    "附近有胸痛中心可以体检的医院",
    "失眠，压力大",
    "过敏性鼻炎，打喷嚏",
    "体检报告结节，想咨询",
    "大便干燥，偶尔带一点鲜红色",
    "腰疼，久坐加重",
    "fitness plan for a sore knee",
    "my chestnut allergy test",
    "breaststroke twice a week, sore shoulder",
    "mild cough and a runny nose",
    "refill of blood pressure pills",
    # Denied, though it begins like a flag
    "没有呼吸困难",
    "没有呼吸急促",
    "没有呼吸道感染，咳嗽",
    "没有意识不清",
    "没有意识障碍",
    "没有意识到这个问题，想咨询",
    "没有心跳加快",
    "发烧，没有尿频尿痛",
    "没感觉胸痛",
    "没有感觉到胸闷",
    "呼吸没有困难",
    "呼吸不困难",
    "breathing is not difficult",
    "没有胸痛这样的症状",
    # Never, and not now
    "从来没有过胸痛",
    "以前没有过胸痛",
    "从没胸痛过，今天来复查",
    "没有过敏，今天出现头晕",
    "既往无胸痛、癫痫，现在咳嗽",
    "偏头痛老毛病，从来没有呕吐过",
    "never had chest pain",
    "never had headache, just dizzy",
    # No reaction to the drug
    "吃药后没有反应",
    "我吃药后没有反应",
    "吃了三天药没有反应",
    "打疫苗后没有反应",
    "my cough is not responding to antibiotics",
    "嗓子肿",
    "咽喉肿痛",
    "扁桃体发炎，嗓子肿痛，吞咽疼",
    "sore throat",
    "throat swollen and sore for two days",
    "想减量安眠药",
    "长期吃安眠药，想减量",
    "每晚吃2片安眠药",
    "吃了半片安眠药",
    "医生开了30片药，每天吃一片",
    "吃了很多药没效果，鼻炎",
    "took 20 mg tablets for blood pressure",
    "打鼾憋气",
    "心脏不舒服想做心电图",
    "心里难受，失恋了",
    "大便有点血丝",
    "吐了一次，血压正常",
    "can't control my blood sugar",
    "I can't get rid of bad breath",
    "孩子两岁不会说话",
    "从楼上下来膝盖疼",
    "想结束疗程，可以停药吗",
    "孩子从沙发上掉下来，没有哭闹，没有呕吐",
    "被热水烫了一下，手指有点红",
    "宝宝三天没拉大便",
    "宝宝两个月，体温正常，吐奶",
    "孩子8岁，精神差，发烧38度",
]


def ids(*texts, **person):
    return [flag.id for flag in red_flags_in(RULES, *texts, **person)]


@pytest.mark.parametrize(("text", "flag"), RAISED)
def test_what_must_not_wait_is_recognised(text, flag):
    assert flag in ids(text)


@pytest.mark.parametrize("text", NOT_RAISED)
def test_what_may_wait_or_is_denied_is_left_alone(text):
    assert ids(text) == []


OF_A_PERSON = [
    # text, age in months, gender, flag, raised
    ("发烧", 2, None, "infant_fever", True),
    ("体温38.2", 0, F, "infant_fever", True),
    ("fever since yesterday", 1, M, "infant_fever", True),
    ("发烧", 3, None, "infant_fever", False),
    ("发烧", 400, None, "infant_fever", False),
    ("发烧", None, None, "infant_fever", False),
    ("没有发烧", 2, None, "infant_fever", False),
    ("我家两个月的宝宝发烧", 400, F, "infant_fever", True),  # written from the mother's own person
    ("胃疼，出冷汗", 60 * 12, M, "chest_pain", True),
    ("胃疼，出冷汗", 40 * 12, M, "chest_pain", True),
    ("胃疼，出冷汗", 40 * 12 - 1, M, "chest_pain", False),
    ("不吃奶，精神差", 5, M, "gravely_ill_child", True),
    ("不吃奶，精神差", 60, M, "gravely_ill_child", False),
    ("won't feed and is floppy", 1, F, "gravely_ill_child", True),
    ("阴囊肿痛", 15 * 12, M, "testicular_torsion", True),
    ("阴囊肿痛", 15 * 12, None, "testicular_torsion", True),
    ("阴囊肿痛", 15 * 12, F, "testicular_torsion", False),
    ("怀孕8周出血", 30 * 12, F, "obstetric_emergency", True),
    ("怀孕8周出血", 30 * 12, M, "obstetric_emergency", False),
    # Ordered under one's own person for another
    ("老婆怀孕8周,下面出血", 30 * 12, M, "obstetric_emergency", True),
    ("my wife is 8 weeks pregnant and bleeding", 30 * 12, M, "obstetric_emergency", True),
    ("my wife is 8 weeks pregnant and has a fever", 30 * 12, M, "infant_fever", False),
    ("宝宝40天,发烧38.5", 30 * 12, M, "infant_fever", True),
    ("宝宝40天,发烧38.5", 30 * 12, F, "infant_fever", True),
    ("宝宝40天,发烧38.5", 50, F, "infant_fever", True),  # under the elder child's
    ("my baby is 5 weeks old and has a fever", 30 * 12, F, "infant_fever", True),
    ("六周大的孩子发烧", 30 * 12, F, "infant_fever", True),
    ("生完孩子40天，发烧", 30 * 12, F, "infant_fever", False),
    ("宝宝40天前打了疫苗，今天发烧", 30 * 12, F, "infant_fever", False),
    ("宝宝发烧38.5", 30 * 12, F, "infant_fever", False),  # of whom no age is told
    ("儿子蛋蛋疼", 30 * 12, F, "testicular_torsion", True),
    ("pain in my son's testicle", 30 * 12, F, "testicular_torsion", True),
    ("我爸胃疼，出冷汗", 30 * 12, M, "chest_pain", True),
    ("老公52岁，胃痛，大汗", 30 * 12, F, "chest_pain", True),
    ("老公32岁，胃痛，大汗", 30 * 12, F, "chest_pain", False),
    ("孩子精神差", 30 * 12, F, "gravely_ill_child", True),
    ("孩子8岁，精神差", 30 * 12, F, "gravely_ill_child", False),
    ("孩子精神差", 10 * 12, F, "gravely_ill_child", False),  # it is this child's order
    ("我怀孕8周，老公发烧", 30 * 12, F, "infant_fever", False),
]


@pytest.mark.parametrize(("text", "months", "gender", "flag", "raised"), OF_A_PERSON)
def test_some_concern_an_age_or_a_gender(text, months, gender, flag, raised):
    assert (flag in ids(text, age_in_months=months, gender=gender)) is raised


def test_every_rule_has_a_case_that_raises_it():
    shown = {flag for _, flag in RAISED} | {flag for *_, flag, raised in OF_A_PERSON if raised}
    assert shown == {flag.id for flag in RULES.flags}


def test_every_language_has_a_case_of_each_rule():
    chinese = {flag for text, flag in RAISED if not text.isascii()}
    english = {flag for text, flag in RAISED if text.isascii()}
    of_children = {"gravely_ill_child"}
    assert chinese | of_children == english | of_children == {flag.id for flag in RULES.flags}


def test_every_rule_says_what_to_do_in_both_languages_and_where_it_is_from():
    for flag in RULES.flags:
        assert "120" in flag.advice.zh or "急诊" in flag.advice.zh
        assert "120" in flag.advice.en or "emergency department" in flag.advice.en
        assert flag.sources


def test_the_texts_are_read_together_but_not_into_each_other():
    assert "meningitis" in ids("发烧三天", "", "脖子僵硬")
    assert "chest_pain" in ids("没有", "胸痛")  # the denial ends with its text
    assert ids("胸口", "疼") == []
    assert ids(None, None) == []


def test_the_gravest_come_first():
    found = red_flags_in(RULES, "发烧39度说胡话，胸痛", age_in_months=400)
    severities = [flag.severity for flag in found]
    assert severities == sorted(severities, key=list(Severity).index)
    assert {flag.id for flag in found} >= {"sepsis", "chest_pain"}
    assert found[-1].severity is Severity.URGENT


@pytest.mark.parametrize(
    "text",
    ["没有胸痛、", "胸口不疼", "胸口", "no chest pain or ", "头摔", "没", "十", "1", "a ", "宝宝刚",
     "从没胸痛这样", "以前没有过胸痛，今天，", "打鼾憋气", "头从来没这么", "吃30片", "好多很多太"],
)  # fmt: skip
def test_a_long_text_takes_no_long_time(text):
    begun = time.process_time()
    ids(text * (6000 // len(text)))
    assert time.process_time() - begun < 1  # it takes some hundredths of that
