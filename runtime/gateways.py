"""Opens the gateways that the hospital's configuration chose."""

from contextlib import AsyncExitStack
from zoneinfo import ZoneInfo

from activities.gateways.email import ConsoleEmail, EmailGateway
from activities.gateways.janus_video import JanusVideo
from activities.gateways.payment import PaymentGateway
from activities.gateways.sandbox_payment import (
    SandboxMerchant,
    SandboxPaymentGateway,
    sandbox_http,
)
from activities.gateways.sms import ConsoleSms, SmsGateway
from activities.gateways.smtp_email import Security, SmtpEmail
from activities.gateways.twilio_sms import TwilioSms
from activities.gateways.video import VideoGateway
from domain.hospital import HospitalConfig
from runtime.settings import Settings, SettingsError
from runtime.wechat_pay import open_wechat_pay

NOTIFY = "/api/hospital/payments/notify"
CALLBACKS = "/api/hospital/callbacks"
# What a channel cannot do without.
NEEDED = {
    "sandbox": "HOSPITAL_SANDBOX_GATEWAY_URL or HOSPITAL_SANDBOX_GATEWAY_SECRET",
    "wechat_native": "WECHAT_PAY_MCHID",
    "wechat_jsapi": "WECHAT_PAY_MCHID",
}


def open_sms(settings: Settings, config: HospitalConfig, stack: AsyncExitStack) -> SmsGateway:
    """Raises SettingsError when the chosen provider has no account here."""
    if config.policies.messages.sms == "console":
        return ConsoleSms()
    if settings.twilio is None:
        raise SettingsError("policies.messages.sms is twilio, but TWILIO_ACCOUNT_SID is not set")
    sms = TwilioSms(
        account_sid=settings.twilio.account_sid,
        auth_token=settings.twilio.auth_token,
        messaging_service_sid=settings.twilio.messaging_service_sid,
        from_number=settings.twilio.from_number,
        status_callback=f"{settings.public_url}{CALLBACKS}/twilio",
        base_url=settings.twilio.base_url,
    )
    stack.push_async_callback(sms.aclose)
    return sms


def open_email(settings: Settings, config: HospitalConfig) -> EmailGateway:
    """Raises SettingsError when SMTP is chosen and no server is named."""
    if config.policies.messages.email == "console":
        return ConsoleEmail()
    if settings.smtp is None:
        raise SettingsError("policies.messages.email is smtp, but SMTP_HOST is not set")
    return SmtpEmail(
        host=settings.smtp.host,
        port=settings.smtp.port,
        sender=settings.smtp.sender,
        security=Security(settings.smtp.security),
        username=settings.smtp.username,
        password=settings.smtp.password,
    )


def open_video(settings: Settings, stack: AsyncExitStack) -> VideoGateway | None:
    """None where no video server is set up: then video is `video_unavailable`."""
    if settings.video is None:
        return None
    janus = JanusVideo(settings.video.url, settings.video.admin_secret, settings.video.admin_key)
    stack.push_async_callback(janus.aclose)
    return janus


def open_payments(
    settings: Settings, config: HospitalConfig, stack: AsyncExitStack
) -> dict[str, PaymentGateway]:
    """By channel, every gateway that is set up here: what is offered no more still has money under
    way. Raises SettingsError when an offered channel is not set up."""
    gateways: dict[str, PaymentGateway] = {}
    if settings.sandbox_gateway_url and settings.sandbox_gateway_secret:
        gateways["sandbox"] = _sandbox(settings, config, stack)
    if settings.wechat_pay:
        gateways |= open_wechat_pay(settings.wechat_pay, f"{settings.public_url}{NOTIFY}", stack)
    for channel in config.policies.payment.channels:
        if channel not in gateways:
            raise SettingsError(
                f"policies.payment.channels has {channel}, but {NEEDED[channel]} is not set"
            )
    return gateways


def _sandbox(
    settings: Settings, config: HospitalConfig, stack: AsyncExitStack
) -> SandboxPaymentGateway:
    http = sandbox_http()
    stack.push_async_callback(http.aclose)
    merchant = SandboxMerchant(
        settings.sandbox_gateway_url or "",
        settings.sandbox_gateway_secret or "",
        f"{settings.public_url}{NOTIFY}/sandbox",
        ZoneInfo(config.hospital.time_zone),
    )
    return SandboxPaymentGateway(merchant, http)
