"""docker-compose.yml holds, as far as that can be told without an engine."""

import argparse
import ast
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import yaml

from cli.__main__ import COMMANDS
from runtime.settings import read_settings
from workers import serve
from workflows.queues import GATEWAYS, LIFECYCLES, MESSAGES, SETTLEMENTS, STAFF

ROOT = Path(__file__).resolve().parents[2]
FILE = ROOT / "docker-compose.yml"
TEXT = FILE.read_text(encoding="utf-8")
COMPOSE: dict[str, Any] = yaml.safe_load(TEXT)
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
BUILT = {name: one for name, one in SERVICES.items() if "build" in one}
OURS = {name: one for name, one in BUILT.items() if name != "janus"}  # by the image of the house
VARIABLE = re.compile(r"\$\{([A-Z0-9_]+)(:-|:\?|-)?([^}]*)\}")
SECRET = re.compile(r"PASSWORD|SECRET|TOKEN|API_KEY|PGPASSWORD|KEYRING_FILE|APIV3_KEY")
# What production has no use for, and what the image itself says.
ONLY_ELSEWHERE = {
    "HOSPITAL_CONFIG",
    "HOSPITAL_SANDBOX_GATEWAY_URL",
    "HOSPITAL_SANDBOX_GATEWAY_SECRET",
    "TWILIO_BASE_URL",
}


def example() -> Mapping[str, str]:
    """`.env.example` by name, what is commented out included."""
    lines = (ROOT / ".env.example").read_text(encoding="utf-8").splitlines()
    found = (re.fullmatch(r"(?:# )?([A-Z][A-Z0-9_]+)=(.*)", line) for line in lines)
    return {one[1]: one[2] for one in found if one}


def filled_in() -> dict[str, str]:
    return {name: "x1" for name, kind, _ in VARIABLE.findall(TEXT) if kind == ":?"}


def docker_compose(environ: Mapping[str, str], *words: str) -> subprocess.CompletedProcess[str]:
    command = ["docker-compose", "--file", str(FILE), *words]
    env = {"PATH": "/usr/bin:/bin:/usr/local/bin", **environ}
    return subprocess.run(command, env=env, capture_output=True, text=True, check=False)


# The file as such


def test_it_is_what_the_compose_specification_says() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", FILE],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.skipif(not shutil.which("docker-compose"), reason="docker-compose is away")
def test_docker_compose_reads_it_when_everything_is_filled_in_and_names_what_is_not() -> None:
    everything = filled_in()
    whole = docker_compose(everything, "config", "--quiet")
    assert whole.returncode == 0, whole.stderr
    for name in everything:
        others = {k: v for k, v in everything.items() if k != name}
        lacking = docker_compose(others, "config", "--quiet")
        assert lacking.returncode != 0, name
        assert "${" + name in lacking.stderr, name


# Commands


def parse(words: list[str]) -> argparse.Namespace:
    module = import_module(COMMANDS[words[0]][0])
    parser = argparse.ArgumentParser(exit_on_error=False)
    module.add_arguments(parser)
    return parser.parse_args(words[1:])


@pytest.mark.parametrize("name", OURS)
def test_each_command_is_one_of_ours_with_arguments_that_it_takes(name: str) -> None:
    parse(OURS[name]["command"])


def test_they_are_what_up_runs_less_the_sandbox_gateway() -> None:
    tree = ast.parse((ROOT / "cli" / "up.py").read_text(encoding="utf-8"))
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    of_up = {
        call.args[0].value
        for call in calls
        if isinstance(call.func, ast.Name)
        and call.func.id == "command"
        and isinstance(call.args[0], ast.Constant)
    }
    assert {one["command"][0] for one in OURS.values()} == of_up - {"sandbox-gateway"}


def test_every_task_queue_has_a_worker() -> None:
    commands = [one["command"] for one in OURS.values() if one["command"][0] == "worker"]
    assert {queue for command in commands for queue in parse(command).queues} == {
        LIFECYCLES,
        SETTLEMENTS,
        GATEWAYS,
        MESSAGES,
        *STAFF,
    }
    assert serve.GOODBYE.total_seconds() < 20, "of stop_grace_period"


@pytest.mark.parametrize("name", OURS)
def test_everybody_gets_time_to_end_gracefully(name: str) -> None:
    from api.serve import GOODBYE

    grace = int(OURS[name]["stop_grace_period"].removesuffix("s"))
    assert grace >= max(GOODBYE, serve.GOODBYE.total_seconds()) + 5


# Settings and secrets


def test_every_setting_is_given_to_every_process() -> None:
    source = (ROOT / "runtime" / "settings.py").read_text(encoding="utf-8")
    read = set(re.findall(r'"([A-Z]+_[A-Z0-9_]+)"', source))
    for name, one in OURS.items():
        assert read - one["environment"].keys() == ONLY_ELSEWHERE, name
        assert not one["environment"].keys() & ONLY_ELSEWHERE, name


# Who takes WeChat Pay says one of these besides.
WECHAT = {
    "WECHAT_PAY_MCHID": "1900000109",
    "WECHAT_PAY_APPID": "wx0123456789abcdef",
    "WECHAT_PAY_SERIAL_NO": "5157F09EFDC096DE15EBE81A47057A72",
    "WECHAT_PAY_APIV3_KEY": "0" * 32,
}
BY_PUBLIC_KEY = {"WECHAT_PAY_PUBLIC_KEY_ID": "PUB_KEY_ID_0"}
BY_CERTIFICATES = {
    "WECHAT_PAY_PUBLIC_KEY_PATH": "",
    "WECHAT_PAY_CERTIFICATES_DIR": "/etc/hospital/wechat",
    "WECHAT_PAY_CERTIFICATES_PATH": "/run/wechat_pay_certificates",
    "WECHAT_PAY_BASE_URL": "https://api2.mch.weixin.qq.com",
}


@pytest.mark.skipif(not shutil.which("docker-compose"), reason="docker-compose is away")
@pytest.mark.parametrize("told", [{}, WECHAT | BY_PUBLIC_KEY, WECHAT | BY_CERTIFICATES])
def test_each_process_starts_by_what_is_passed_on(told: Mapping[str, str]) -> None:
    """By the public key, by certificates alone, or without WeChat Pay."""
    done = docker_compose({**filled_in(), **told}, "config")
    assert done.returncode == 0, done.stderr
    services = yaml.safe_load(done.stdout)["services"]
    for name in OURS:
        given = {key: str(value or "") for key, value in services[name]["environment"].items()}
        settings = read_settings(given).wechat_pay
        assert (settings is None) == (not told), name
        if settings is not None and settings.certificates_path:
            mounted = f"/etc/hospital/wechat:{settings.certificates_path}:ro"
            assert mounted in services[name]["volumes"], name
            assert settings.base_url == BY_CERTIFICATES["WECHAT_PAY_BASE_URL"]


def test_no_secret_has_a_default_and_none_stands_in_the_file() -> None:
    for name, kind, default in VARIABLE.findall(TEXT):
        if SECRET.search(name):
            assert kind == ":?" or not default, name
    for service, one in SERVICES.items():
        for name, value in (one.get("environment") or {}).items():
            if SECRET.search(name) or name.endswith("_PWD"):
                assert re.fullmatch(r"\$\{.*\}|/run/secrets/.*", value), f"{service}: {name}"


def test_the_example_names_every_variable_and_fills_in_no_secret() -> None:
    named = example()
    assert {name for name, _, _ in VARIABLE.findall(TEXT)} == named.keys()
    assert {name for name in named if SECRET.search(name) and named[name]} == set()
    assert {name for name in filled_in() if named[name]} == set()


def test_production_is_production() -> None:
    for one in OURS.values():
        assert one["environment"]["HOSPITAL_ENV"] == "production"
        assert one["environment"]["HOSPITAL_LOG_FORMAT"] == "json"
    assert "sandbox-gateway" not in TEXT


# What could be reached, and what could go wrong


def test_only_janus_media_are_published_to_everybody() -> None:
    published = {name: one["ports"] for name, one in SERVICES.items() if "ports" in one}
    assert published.keys() == {"api", "temporal-ui", "janus"}
    open_to_all = [
        port for ports in published.values() for port in ports if not port.startswith("127.0.0.1:")
    ]
    media = "${JANUS_RTP_PORTS:-20000-20199}"
    assert open_to_all == [f"{media}:{media}/udp"]
    assert "7088" not in str(published)
    front = COMPOSE["networks"]["front"]["ipam"]["config"][0]["subnet"]
    assert front.startswith(SERVICES["janus"]["environment"]["JANUS_INTERFACES"])
    assert COMPOSE["networks"]["inside"] == {"internal": True}
    for name in ("postgres", "temporal", "temporal-schema", "temporal-namespace"):
        assert SERVICES[name]["networks"] == ["inside"]


def test_images_are_pinned_to_a_release() -> None:
    for name, one in SERVICES.items():
        tag = one["image"].partition(":")[2]
        assert name in BUILT or re.fullmatch(r"[0-9]+(\.[0-9]+){1,2}", tag), name


@pytest.mark.parametrize("name", SERVICES)
def test_every_service_is_confined(name: str) -> None:
    one = SERVICES[name]
    assert one["cap_drop"] == ["ALL"]
    assert one["security_opt"] == ["no-new-privileges:true"]
    assert one["deploy"]["resources"]["limits"].keys() == {"cpus", "memory"}
    assert one["logging"]["options"].keys() == {"max-size", "max-file"}
    assert name not in BUILT or one["read_only"]


def test_every_service_that_stays_is_asked_how_it_is() -> None:
    errands = {name for name, one in SERVICES.items() if one["restart"] == "on-failure:5"}
    assert errands == {"migrate", "seed", "temporal-schema", "temporal-namespace"}
    for name in SERVICES.keys() - errands:
        assert SERVICES[name]["healthcheck"]["test"], name
        assert "curl" not in SERVICES[name]["healthcheck"]["test"], name


def test_what_must_be_done_first_is_waited_for() -> None:
    for name, one in SERVICES.items():
        for other, how in (one.get("depends_on") or {}).items():
            ends = SERVICES[other]["restart"] == "on-failure:5"
            wanted = "service_completed_successfully" if ends else "service_healthy"
            assert how == {"condition": wanted}, name
    for name in ("api", "worker-lifecycles", "worker-messages", "relay"):
        assert {"migrate", "seed"} <= SERVICES[name]["depends_on"].keys()


# The page about it


def test_the_page_for_operations_names_every_process_of_ours() -> None:
    """Also where it says what must be stopped before a restore: who goes on writes into it."""
    page = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    table = page.partition("## What runs")[2].partition("## Begin")[0]
    assert [name for name in OURS if f"`{name}`" not in table] == []
    stopped = re.search(r"docker compose stop ([a-z -]+?) +#", page)
    assert stopped
    ends = {
        n for n, one in OURS.items() if one.get("restart", "unless-stopped") == "unless-stopped"
    }
    assert set(stopped[1].split()) == ends
