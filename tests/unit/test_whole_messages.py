"""Messages with their parts in one request: how they are packed, and what the device makes of an error."""

import httpx
import pytest
from flwr.app import ConfigRecord, Message, RecordDict
from flwr.supercore.error import ApiErrorCode
from hypothesis import given
from hypothesis import strategies as st

from tacit_clients import flower_seam
from tacit_privacy.errors import BadInput, NodeUnknown, RunOver, ServerUnreachable
from tacit_privacy.parts import joined, parted


@given(parts=st.lists(st.binary(max_size=40), max_size=5))
def test_parts_come_back_as_they_were(parts: list[bytes]) -> None:
    assert parted(joined(parts)) == parts


@given(parts=st.lists(st.binary(min_size=1, max_size=40), min_size=1, max_size=5), cut=st.integers(1, 8))
def test_a_cut_is_noticed(parts: list[bytes], cut: int) -> None:
    whole = joined(parts)
    kept = whole[: -min(cut, len(parts[-1]))]
    with pytest.raises(BadInput, match="middle"):
        parted(kept)


def failing(status: int, body: object) -> httpx.HTTPStatusError:
    request = httpx.Request("POST", "https://localhost/")
    return httpx.HTTPStatusError("", request=request, response=httpx.Response(status, json=body, request=request))


@pytest.mark.parametrize(
    ("status", "body", "means"),
    [
        (403, {"code": int(ApiErrorCode.FLEET_RUN_STATUS_NOT_ALLOWED)}, RunOver),
        (412, {}, RunOver),
        (403, {"code": 1}, NodeUnknown),
        (403, ["none"], NodeUnknown),
        (401, {}, NodeUnknown),
        (500, {}, ServerUnreachable),
    ],
)
def test_an_error_says_what_to_do(status: int, body: object, means: type[Exception]) -> None:
    """A reply to a run that is over is of no use; a node that takes itself for unknown would send it for ever."""
    with pytest.raises(means), flower_seam._explained():
        raise failing(status, body)


def test_an_answer_that_cannot_be_read_is_no_defect_of_the_device() -> None:
    with pytest.raises(ServerUnreachable, match="cannot be read"), flower_seam._explained():
        parted(b"123")


def test_a_parcel_comes_back_from_its_parts() -> None:
    flower_seam.adopt_identity()
    message = Message(RecordDict({"said": ConfigRecord({"a": 1})}), 7, "train")
    parcel = flower_seam.Parcel.of(message)
    again = flower_seam.Parcel(parcel.run_id, parcel.header, parcel.tree, parcel.objects).message()
    assert again.content.config_records["said"] == message.content.config_records["said"]
