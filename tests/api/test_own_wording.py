"""The wording beside the hospital's configuration is what API and workers say."""

from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from api.serve import open_context
from db.keyring import Keyring
from domain.message import Channel, Language, MessageTexts, Template
from runtime.config import load_config
from runtime.entry import Entry
from runtime.metrics import Metrics
from runtime.settings import DEFAULT_CONFIG, read_settings
from tests.support.api import NOBODY_LISTENS, a_client
from workers.serve import open_activities
from workflows.queues import MESSAGES

pytestmark = pytest.mark.anyio


@pytest.fixture
def entry(tmp_path: Path, keyring: Keyring) -> Entry:
    ours = DEFAULT_CONFIG.with_name("messages.yaml").read_text(encoding="utf-8")
    own = ours.replace("请勿告诉任何人。", "请保密。")
    (tmp_path / "messages.yaml").write_text(own, encoding="utf-8")
    (tmp_path / "hospital.yaml").write_text(DEFAULT_CONFIG.read_text(encoding="utf-8"), "utf-8")
    settings = read_settings(
        {
            "HOSPITAL_ENV": "dev",
            "HOSPITAL_CONFIG": str(tmp_path / "hospital.yaml"),
            "HOSPITAL_DATABASE_URL": f"postgresql://{NOBODY_LISTENS}/nothing",
            "HOSPITAL_KEYRING": "keyring.json",
            "HOSPITAL_FILES_DIR": str(tmp_path),
            "HOSPITAL_SANDBOX_GATEWAY_URL": f"http://{NOBODY_LISTENS}",
            "HOSPITAL_SANDBOX_GATEWAY_SECRET": "x" * 32,
            "TEMPORAL_ADDRESS": NOBODY_LISTENS,
        }
    )
    config = load_config(settings.config_path, {})
    return Entry(settings, config, keyring, Metrics(CollectorRegistry()))


def said(texts: MessageTexts) -> str:
    return texts.texts[Template.SMS_CODE, Channel.SMS, Language.ZH].text


async def test_an_api_process_says_it(entry: Entry) -> None:
    async with AsyncExitStack() as stack:
        context = await open_context(entry, stack)
        assert said(context.texts).endswith("请保密。")


async def test_a_worker_says_it(entry: Entry) -> None:
    async with AsyncExitStack() as stack:
        activities = open_activities(entry, await a_client(entry.keyring), stack)
        send = next(one for one in activities[MESSAGES] if one.__name__ == "send_message")
        assert said(send.__self__.texts).endswith("请保密。")  # type: ignore[attr-defined]
