"""Twilio's Messages and Calls API on loopback, as far as the real client can tell."""

import base64
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

RESOURCES = r"/Messages\.json|/Calls\.json|/Calls/CA[0-9]+\.json"
ACCOUNT_SID = "AC" + "0" * 32
AUTH_TOKEN = "loopback-token"


@dataclass
class Reply:
    """What to answer to the next request instead of doing as asked."""

    status: int
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)


def refusal(status: int, code: int, **headers: str) -> Reply:
    """As Twilio words it: the number is in the message."""
    message = f"The 'To' number +8613800138000 is refused ({code})."
    body = {"code": code, "message": message, "status": status}
    return Reply(status, body, {name.replace("_", "-"): value for name, value in headers.items()})


@dataclass
class TwilioServer:
    url: str = ""
    now: datetime = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
    next_replies: list[Reply] = field(default_factory=list)
    messages: list[dict[str, Any]] = field(default_factory=list)
    calls: list[dict[str, Any]] = field(default_factory=list)  # both legs, newest first
    requests: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)
    hang_after_taking: bool = False
    """Take the message, then say nothing."""
    released: threading.Event = field(default_factory=threading.Event)

    def take(self, form: dict[str, str]) -> dict[str, Any]:
        message = {
            "sid": f"SM{len(self.messages):032d}",
            "account_sid": ACCOUNT_SID,
            "to": form["To"],
            "from": form.get("From"),
            "messaging_service_sid": form.get("MessagingServiceSid"),
            "body": form["Body"],
            "status": "queued",
            "direction": "outbound-api",
            "date_created": format_datetime(self.now),
            "date_sent": None,
            "error_code": None,
        }
        self.messages.insert(0, message)
        return message

    def place(self, form: dict[str, str]) -> dict[str, Any]:
        """A call that is asked for. The legs of `<Dial>` are put into `calls` by the test."""
        call = {
            "sid": f"CA{len(self.calls):032d}",
            "account_sid": ACCOUNT_SID,
            "parent_call_sid": None,
            "to": form["To"],
            "from": form["From"],
            "status": "queued",
            "direction": "outbound-api",
            "date_created": format_datetime(self.now),
            "end_time": None,
            "duration": None,
        }
        self.calls.insert(0, call)
        return call

    def page_of_calls(self, query: dict[str, str]) -> dict[str, Any]:
        wanted = {
            "to": query.get("To"),
            "from": query.get("From"),
            "parent_call_sid": query.get("ParentCallSid"),
        }
        found = [
            call
            for call in self.calls
            if all(value is None or call[name] == value for name, value in wanted.items())
        ]
        return {"calls": found, "next_page_uri": None, "page": 0, "page_size": 50}

    def call(self, sid: str) -> Reply:
        found = next((call for call in self.calls if call["sid"] == sid), None)
        return Reply(200, found) if found else refusal(404, 20404)

    def page(self, query: dict[str, str]) -> dict[str, Any]:
        found = [message for message in self.messages if message["to"] == query["To"]]
        return {"messages": found, "next_page_uri": None, "page": 0, "page_size": 50}


class _Server(ThreadingHTTPServer):
    request_queue_size = 64  # five would make the sixth at once wait a second


@contextmanager
def twilio_server() -> Iterator[TwilioServer]:
    state = TwilioServer()
    server = _Server(("127.0.0.1", 0), _handler(state))
    state.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield state
    finally:
        state.released.set()
        server.shutdown()
        server.server_close()
        thread.join()


def _handler(state: TwilioServer) -> type[BaseHTTPRequestHandler]:
    account = f"/2010-04-01/Accounts/{ACCOUNT_SID}"
    credentials = base64.b64encode(f"{ACCOUNT_SID}:{AUTH_TOKEN}".encode()).decode()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            query = dict(parse_qsl(urlsplit(self.path).query))
            self.serve(query, lambda: self.read(query))

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            pairs = parse_qsl(body, strict_parsing=True)
            form = {name: " ".join(v for n, v in pairs if n == name) for name, _ in pairs}
            self.serve(form, lambda: self.take(form))

        @property
        def resource(self) -> str:
            return urlsplit(self.path).path.removeprefix(account)

        def read(self, query: dict[str, str]) -> Reply:
            match self.resource:
                case "/Messages.json":
                    return Reply(200, state.page(query))
                case "/Calls.json":
                    return Reply(200, state.page_of_calls(query))
                case other:
                    return state.call(other.removeprefix("/Calls/").removesuffix(".json"))

        def take(self, form: dict[str, str]) -> Reply:
            made = state.take(form) if self.resource == "/Messages.json" else state.place(form)
            return Reply(201, made)

        def serve(self, fields: dict[str, str], obey: Any) -> None:
            state.requests.append((self.command, self.path, fields))
            if self.headers["Authorization"] != f"Basic {credentials}":
                self.answer(refusal(401, 20003))
            elif not re.fullmatch(RESOURCES, self.resource):
                self.answer(refusal(404, 20404))
            elif state.next_replies:
                self.answer(state.next_replies.pop(0))
            else:
                reply = obey()
                if state.hang_after_taking:
                    state.released.wait()
                    self.close_connection = True
                    return
                self.answer(reply)

        def answer(self, reply: Reply) -> None:
            body = reply.body if isinstance(reply.body, str) else json.dumps(reply.body)
            self.send_response(reply.status)
            for name, value in reply.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body.encode())))
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, format: str, *args: object) -> None:
            pass

    return Handler
