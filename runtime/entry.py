"""What every long-running process begins with: settings, configuration, keys, connections."""

import asyncio
import os
import signal
from dataclasses import dataclass

from prometheus_client import CollectorRegistry
from sqlalchemy.ext.asyncio import AsyncEngine

from db.base import DriverPool, driver_pool_for, engine_for
from db.keyring import Keyring
from domain.hospital import HospitalConfig
from runtime.config import load_config
from runtime.logs import configure_logs
from runtime.message_texts import load_message_texts
from runtime.metrics import Metrics
from runtime.settings import Settings, SettingsError, read_settings


@dataclass(frozen=True)
class Entry:
    settings: Settings
    config: HospitalConfig
    keyring: Keyring
    metrics: Metrics

    def engine(self, *, pool_size: int) -> AsyncEngine:
        return engine_for(
            self.settings.database_url,
            pool_size=pool_size,
            time_zone=self.config.hospital.time_zone,
        )

    def driver_pool(self, *, size: int) -> DriverPool:
        """Not open yet; all of it is kept open then."""
        return driver_pool_for(
            self.settings.database_url,
            size=size,
            least=size,
            time_zone=self.config.hospital.time_zone,
        )


def enter(process: str) -> Entry:
    """Read everything once. Raises SettingsError, ConfigError, OSError or ValueError."""
    settings = read_settings(os.environ)
    configure_logs(settings.log_format, process)
    config = load_config(settings.config_path, os.environ)
    if not settings.dev:
        refuse_stand_ins(config)
    load_message_texts(settings.config_path)  # a broken wording is told before anything is opened
    return Entry(
        settings,
        config,
        Keyring.load(settings.keyring_path),
        Metrics(CollectorRegistry()),
    )


def refuse_stand_ins(config: HospitalConfig) -> None:
    """Where patients are, nothing may only seem to take money or to tell people something.

    Raises SettingsError. Login codes go by SMS whatever the order of channels says.
    """
    messages = config.policies.messages
    stand_ins = {
        "payment.channels": "sandbox" in config.policies.payment.channels,
        "messages.sms": messages.sms == "console",
        # Where no phone consultation has a price nobody is ever rung.
        "messages.voice": messages.voice == "console" and bool(config.consultation_prices.phone),
        "messages.email": messages.email == "console" and "email" in messages.order,
    }
    for name, is_one in stand_ins.items():
        if is_one:
            raise SettingsError(
                f"policies.{name} is a stand-in, and HOSPITAL_ENV is production; choose a real one"
            )


def stop_on_signals() -> asyncio.Event:
    """An event that SIGTERM and SIGINT set."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    return stop
