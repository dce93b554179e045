"""Opens payloads for the Temporal web UI, in the browser of someone who may see them."""

from fastapi import FastAPI, Request, Response
from starlette.middleware.cors import CORSMiddleware

from api import errors
from api.context import Context, caller_by, require
from api.problems import Problem
from db.keyring import UnknownKey
from domain.access import Action
from runtime.codec import NotPayloads, PayloadDamaged, SealingCodec, decode_payloads_json


def codec_app(context: Context, *, loopback: bool) -> FastAPI:
    """Mounted at /codec. In development, where only this machine reaches it (`loopback`), the web
    UI need not log in."""
    app = FastAPI(openapi_url=None)
    app.state.context = context
    errors.install(app)
    codec = SealingCodec(context.keyring)
    open_here = context.settings.dev and loopback

    @app.post("/decode")
    async def decode(request: Request) -> Response:
        if not open_here:
            caller = caller_by(context, request.headers.get("authorization"))
            require(caller, Action.DECODE_PAYLOADS)
        try:
            opened = await decode_payloads_json(codec, await request.body())
        except (NotPayloads, PayloadDamaged, UnknownKey):
            raise Problem("malformed") from None
        return Response(opened, media_type="application/json")

    app.add_middleware(
        CORSMiddleware,
        allow_origins=list(context.settings.temporal_ui_urls),
        allow_methods=["POST"],
        allow_headers=["*"],
        allow_credentials=True,
    )
    return app
