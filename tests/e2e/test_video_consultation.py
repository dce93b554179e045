"""A video consultation from the order to the conclusion: the whole house, and the real Janus."""

import asyncio
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.house import House, eventually
from tests.support.peers import Peer
from tests.support.video import running_janus
from tests.support.visitors import Patient, Visitor, doctor_of, register

pytestmark = pytest.mark.second_tier


@pytest.fixture(scope="module")
def with_video() -> Iterator[House]:
    with (
        running_janus() as janus,
        tempfile.TemporaryDirectory(prefix="hospital-video-") as directory,
    ):
        more = {**janus.environ, "HOSPITAL_POLICIES__CONSULTATION__LEAVE_GRACE": "PT1S"}
        house = House(Path(directory) / "house", more=more)
        try:
            house.open()
            yield house
        finally:
            print(house.all_said())
            house.close()


def test_both_come_and_talk_and_leave_and_the_doctor_concludes(with_video: House) -> None:
    patient = register(with_video)
    doctor_id, doctor = doctor_of(with_video, "attending")
    order = patient.ask(type="video", doctorId=doctor_id)
    patient.pay(order)
    eventually(lambda: patient.order(order)["paid"])
    doctor.post(f"/consultations/{order['id']}/accept")
    asyncio.run(they_talk(patient, doctor, order))

    def events() -> list[str]:
        return [entry[0] for entry in patient.timeline(order)]

    eventually(lambda: events().count("left") == 2, within=30)
    assert events().count("joined") == 2
    eventually(lambda: "ask_to_conclude" in events(), within=30)
    done = doctor.post(
        f"/consultations/{order['id']}/complete", {"diagnosis": "感冒", "advice": "多休息"}
    )
    assert done["status"] == "completed"
    gone = patient.send("POST", f"/consultations/{order['id']}/video-session")
    assert (gone.status_code, gone.json()["code"]) == (409, "not_allowed")
    rooms = "select destroyed_at from video_room where order_no = %s"
    eventually(lambda: with_video.sql(rooms, order["orderNo"])[0]["destroyed_at"], within=40)


async def they_talk(patient: Patient, doctor: Visitor, order: dict) -> None:
    path = f"/consultations/{order['id']}/video-session"
    stranger = register(patient.house).send("POST", path)
    assert stranger.status_code == 404
    async with Peer(patient.post(path)) as one, Peer(doctor.post(path)) as other:
        for peer in (one, other):
            await peer.join()
        await asyncio.gather(one.publish(), other.publish())
        await asyncio.gather(one.watch(), other.watch())
        await asyncio.gather(one.sees_and_hears(20), other.sees_and_hears(20))
        async with asyncio.timeout(30):
            # Until the house has seen both come: nobody is waited for but the talk's end.
            while patient.order(order)["waitingFor"] != "call":  # noqa: ASYNC110
                await asyncio.sleep(0.2)
