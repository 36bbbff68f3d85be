"""Who belongs to the fleet: numbers for ever, tokens once, decisions written down."""

from collections.abc import Iterator

import pytest
from sqlalchemy import create_engine
from sqlalchemy.orm import Session

from tacit_clients.flower_seam import NodeKey
from tacit_privacy.enrolment import Application, Token
from tacit_privacy.errors import AdmissionRefused, BadInput
from tacit_privacy.ledger.keys import SigningKey
from tacit_server.deployment import admission, audit
from tacit_server.deployment.admission import Admitted
from tacit_server.deployment.audit import COMMAND_LINE, Actor
from tacit_server.store.tables import ServerTables

SERVER = "5" * 64
DEVICE = Actor("device", "192.0.2.7")


@pytest.fixture
def session() -> Iterator[Session]:
    engine = create_engine("sqlite://")
    ServerTables.metadata.create_all(engine)
    with Session(engine) as session:
        yield session
    engine.dispose()


def secret(session: Session, device: str = "", hours: float = 1.0) -> str:
    text = admission.new_token(session, COMMAND_LINE, SERVER, note="a token", hours=hours, device=device)
    return Token.read(text).secret


def enrol(session: Session, key: SigningKey, token: str = "", node: NodeKey | None = None, name: str = "n") -> Admitted:
    asked = Application(
        server=SERVER, public_key=key.public, node_key=(node or NodeKey.generate()).public, name=name, token=token
    )
    return admission.apply(session, DEVICE, asked, key.sign(asked.signed()), server=SERVER)


def actions(session: Session) -> list[tuple[str, str]]:
    session.flush()
    return [(row.action, row.outcome) for row in reversed(audit.rows(session))]


def test_numbers_follow_one_another_from_nought(session: Session) -> None:
    found = [enrol(session, SigningKey.simulated(seed), secret(session)) for seed in range(3)]
    assert [one.number for one in found] == [0, 1, 2]
    assert len({one.identity for one in found}) == 3


def test_coming_back_resets_nothing(session: Session) -> None:
    """Under the same key, after it left; and under new keys, by a token made for it."""
    key = SigningKey.simulated(1)
    first = enrol(session, key, secret(session))
    enrol(session, SigningKey.simulated(2), secret(session))
    admission.erase(session, DEVICE, first.identity)
    with pytest.raises(AdmissionRefused, match="left the fleet"):
        enrol(session, key)
    assert enrol(session, key, secret(session)) == first
    new = SigningKey.simulated(3)
    assert enrol(session, new, secret(session, device=first.identity)) == first
    row = admission.by_key(session, new.public)
    assert row is not None and row.number == first.number and admission.by_key(session, key.public) is None


def test_erasing_forgets_all_but_key_and_count(session: Session) -> None:
    key = SigningKey.simulated(1)
    first = enrol(session, key, secret(session), name="Anna's phone")
    row = admission.erase(session, DEVICE, first.identity)
    assert (row.name, row.report, row.node_key, row.state) == ("", "", "", "left")
    assert row.public_key == key.public


def test_an_applicant_waits_for_a_person(session: Session) -> None:
    key, node = SigningKey.simulated(1), NodeKey.generate()
    assert enrol(session, key, node=node) == Admitted("pending")
    assert enrol(session, key, node=node) == Admitted("pending")
    (waiting,) = admission.applicants(session)
    found = admission.approve(session, Actor("anna"), admission.applicant_like(session, key.public[:8]))
    assert (found.state, waiting.address) == ("admitted", "192.0.2.7")
    assert enrol(session, key, node=node) == found
    assert admission.applicants(session) == []
    assert [row.actor for row in audit.rows(session) if row.action == "device.approve"] == ["anna"]


def test_a_revoked_device_stays_out_until_it_is_restored(session: Session) -> None:
    key = SigningKey.simulated(1)
    first = enrol(session, key, secret(session), name="phone")
    admission.revoke(session, COMMAND_LINE, "phone")
    for token in ("", secret(session), secret(session, device=first.identity)):
        with pytest.raises(AdmissionRefused, match="revoked"):
            enrol(session, key, token)
    admission.restore(session, COMMAND_LINE, str(first.number))
    assert enrol(session, key, secret(session)) == first


def test_a_refused_token_is_not_used_up(session: Session) -> None:
    taken = NodeKey.generate()
    enrol(session, SigningKey.simulated(1), secret(session), taken)
    token = secret(session)
    with pytest.raises(AdmissionRefused, match="another device has this node key"):
        enrol(session, SigningKey.simulated(2), token, taken)
    assert enrol(session, SigningKey.simulated(2), token).state == "admitted"


@pytest.mark.parametrize("hours", [0.0, -1.0, 9000.0, float("nan")])
def test_a_token_has_an_end(session: Session, hours: float) -> None:
    with pytest.raises(BadInput, match="hours"):
        secret(session, hours=hours)


def test_a_device_is_named_by_identity_number_or_name(session: Session) -> None:
    for seed in (1, 2):
        enrol(session, SigningKey.simulated(seed), secret(session), name="phone")
    with pytest.raises(BadInput, match="2 devices are called 'phone'"):
        admission.revoke(session, COMMAND_LINE, "phone")
    with pytest.raises(BadInput, match="no device"):
        admission.revoke(session, COMMAND_LINE, "9")
    assert admission.revoke(session, COMMAND_LINE, "1").number == 1


def test_every_change_is_written_down(session: Session) -> None:
    key = SigningKey.simulated(1)
    first = enrol(session, key, secret(session))
    admission.revoke(session, COMMAND_LINE, first.identity)
    admission.restore(session, COMMAND_LINE, first.identity)
    admission.erase(session, COMMAND_LINE, first.identity)
    secret(session)
    admission.revoke_tokens(session, COMMAND_LINE)
    expected = ["token.create", "device.enrol", "device.revoke", "device.restore", "device.erase", "token.create"]
    assert actions(session) == [(action, "done") for action in [*expected, "token.revoke"]]
