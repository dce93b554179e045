"""How the gateway says no."""


class Refusal(Exception):
    """An HTTP status and a code; the code is the whole message."""

    def __init__(self, status: int, code: str) -> None:
        super().__init__(code)
        self.status, self.code = status, code
