"""Opens the gateways that the hospital's configuration chose."""

from contextlib import AsyncExitStack
from zoneinfo import ZoneInfo

from activities.gateways.email import ConsoleEmail, EmailGateway
from activities.gateways.janus_video import JanusVideo
from activities.gateways.local_storage import LocalStorage
from activities.gateways.payment import PaymentGateway
from activities.gateways.sandbox_payment import (
    SandboxMerchant,
    SandboxPaymentGateway,
    sandbox_http,
)
from activities.gateways.sms import ConsoleSms, SmsGateway
from activities.gateways.smtp_email import Security, SmtpEmail
from activities.gateways.storage import Storage
from activities.gateways.twilio_sms import TwilioSms
from activities.gateways.twilio_voice import TwilioVoice
from activities.gateways.video import VideoGateway
from activities.gateways.voice import ConsoleVoice, VoiceGateway
from domain.hospital import HospitalConfig
from runtime.settings import Settings, SettingsError
from runtime.wechat_pay import open_wechat_pay

NOTIFY = "/api/hospital/payments/notify"
CALLBACKS = "/api/hospital/callbacks"
CALLS = f"{CALLBACKS}/twilio/calls"
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
    if not (settings.twilio.messaging_service_sid or settings.twilio.from_number):
        raise SettingsError(
            "policies.messages.sms is twilio, but neither TWILIO_MESSAGING_SERVICE_SID nor "
            "TWILIO_FROM_NUMBER is set"
        )
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


def open_voice(settings: Settings, config: HospitalConfig, stack: AsyncExitStack) -> VoiceGateway:
    """Raises SettingsError when the chosen provider has no account or no number here, and when it
    could not reach us safely: one answer to it has the patient's number."""
    if config.policies.messages.voice == "console":
        return ConsoleVoice()
    twilio = settings.twilio
    if twilio is None:
        raise SettingsError("policies.messages.voice is twilio, but TWILIO_ACCOUNT_SID is not set")
    if twilio.voice_number is None:
        raise SettingsError("policies.messages.voice is twilio, but TWILIO_VOICE_NUMBER is not set")
    if twilio.base_url is None and not settings.public_url.startswith("https://"):
        raise SettingsError("HOSPITAL_PUBLIC_URL is not https, and calls by Twilio need that")
    voice = TwilioVoice(
        account_sid=twilio.account_sid,
        auth_token=twilio.auth_token,
        number=twilio.voice_number,
        callbacks=f"{settings.public_url}{CALLS}",
        base_url=twilio.base_url,
    )
    stack.push_async_callback(voice.aclose)
    return voice


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


def open_storage(settings: Settings, stack: AsyncExitStack) -> Storage:
    """Raises SettingsError when no place for files is named."""
    if settings.s3 is not None:
        from activities.gateways.s3_storage import S3Storage  # noqa: PLC0415 - a large SDK

        bucket = S3Storage(
            bucket=settings.s3.bucket,
            region=settings.s3.region,
            access_key=settings.s3.access_key,
            secret_key=settings.s3.secret_key,
            endpoint=settings.s3.endpoint,
        )
        stack.push_async_callback(bucket.aclose)
        return bucket
    if settings.files_dir is None:
        raise SettingsError("neither HOSPITAL_FILES_DIR nor HOSPITAL_S3_BUCKET is set")
    try:
        settings.files_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise SettingsError(f"HOSPITAL_FILES_DIR cannot be used: {error.strerror}") from None
    return LocalStorage(settings.files_dir)


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
