"""What is done with each type of entity, how text is searched and where originals may be put back."""

import re
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Final, Literal, Self

from pydantic import AfterValidator, BaseModel, Field, PositiveFloat, PositiveInt, ValidationError, model_validator

from tacit_privacy.errors import BadInput
from tacit_privacy.settings_files import read_toml
from tacit_privacy.wording import sentence

Action = Literal["mask", "surrogate", "format", "keep", "block", "local_only"]
"""mask: a typed placeholder. surrogate: a made-up value of the same kind. format: other digits in the same shape.
keep: leave as it is. block: refuse the text. local_only: the text is answered on the device and never leaves."""


def _type_name(name: str) -> str:
    if not re.fullmatch(r"[A-Z][A-Z0-9_]{0,39}", name):
        raise ValueError("a type is written in capitals, such as PERSON")
    return name


TypeName = Annotated[str, AfterValidator(_type_name)]
Share = Annotated[float, Field(ge=0, le=1)]

DEFAULT_ACTIONS: Final[Mapping[str, Action]] = {
    "AGE": "keep",
    "DATE_TIME": "keep",
    "DOMAIN_NAME": "keep",
    "NRP": "keep",
    "PUBLIC_ORGANIZATION": "keep",  # names that everybody shares, in a short text that holds nothing personal
    "PUBLIC_PLACE": "keep",
    "SECRET": "block",
    "TITLE": "keep",
    "URL": "keep",  # a public address; one that holds a person's handle, an e-mail address or a token is PERSONAL_URL
}
"""What happens to types that [types] does not name; every type absent here follows ``default``."""

_FOUND = (
    "ABA_ROUTING_NUMBER ADDRESS AGE AU_ABN AU_ACN AU_MEDICARE AU_TFN CA_SIN CREDIT_CARD CRYPTO CUSTOM DATE_OF_BIRTH "
    "DATE_TIME DE_HEALTH_INSURANCE DE_ID_CARD DE_PASSPORT DE_SOCIAL_SECURITY DE_TAX_ID DE_VAT_ID DOMAIN_NAME "
    "EMAIL_ADDRESS ES_NIE ES_NIF FI_PERSONAL_IDENTITY_CODE GPS_COORDINATES IBAN_CODE ID IN_AADHAAR IN_GSTIN IN_PAN "
    "IN_VOTER IP_ADDRESS IT_FISCAL_CODE IT_IDENTITY_CARD IT_VAT_CODE KR_RRN LICENSE_PLATE LOCATION MAC_ADDRESS "
    "MEDICAL_LICENSE MEDICAL_RECORD NG_NIN NRP ORGANIZATION PASSPORT PERSON PERSONAL_URL PHONE_NUMBER PH_TIN "
    "PH_UMID PIN PL_PESEL PUBLIC_ORGANIZATION PUBLIC_PLACE SECRET SE_ORGANISATIONSNUMMER SE_PERSONNUMMER "
    "SG_NRIC_FIN SG_UEN TH_TNIN TITLE TR_NATIONAL_ID UK_DRIVING_LICENCE UK_NHS UK_NINO URL USERNAME US_BANK_NUMBER "
    "US_DRIVER_LICENSE US_ITIN US_MBI US_NPI US_PASSPORT US_SSN VIN ZA_ID_NUMBER ZIP_CODE"
)
FOUND_TYPES: Final = frozenset(_FOUND.split())
"""Every type that patterns, the shipped recogniser and deny lists find; stated, so that a policy loads no detector."""


class Plugin(BaseModel, frozen=True, extra="forbid"):
    """One further recogniser.

    ``model``: a path or name that the library loads; for kind "presidio" a class, as "module:Class". ``labels`` maps
    the model's labels to entity types; a label it does not name is dropped, unless ``labels`` is empty: then each keeps
    its own name in capitals.
    """

    kind: Literal["spacy", "transformers", "gliner", "presidio"]
    model: str = Field(min_length=1)
    labels: dict[str, TypeName] = {}
    threshold: Share = 0.5
    score: Share = 0.85  # of a kind that states none (spacy)

    @model_validator(mode="after")
    def _asks_for_something(self) -> Self:
        if self.kind == "gliner" and not self.labels:
            raise ValueError("gliner finds what it is asked for: name its labels")
        if self.kind == "presidio" and not re.fullmatch(r"[\w.]+:\w+", self.model):
            raise ValueError("a presidio plug-in's model is a class, as module:Class")
        return self


class DetectionPolicy(BaseModel, frozen=True, extra="forbid"):
    """How text is searched. A higher threshold finds less."""

    threshold: Share = 0.5
    thresholds: dict[TypeName, Share] = {}  # by type, in place of ``threshold``
    recogniser: Literal["tacit", "none"] = "tacit"
    allow: tuple[str, ...] = ()  # words and phrases never masked
    deny: tuple[str, ...] = ()  # words and phrases always masked, as type CUSTOM
    plugins: tuple[Plugin, ...] = ()
    max_chars: PositiveInt = 10_000_000  # a longer text is refused, not searched in part

    @model_validator(mode="after")
    def _words_are_words(self) -> Self:
        if any(not word.strip() for word in (*self.allow, *self.deny)):
            raise ValueError("an entry of allow or deny is empty")
        folded = {word.casefold() for word in self.allow} & {word.casefold() for word in self.deny}
        if folded:
            raise ValueError("an entry stands in both allow and deny")
        return self

    def least(self, type: str) -> float:
        """The score from which an entity of ``type`` counts."""
        return self.thresholds.get(type, self.threshold)


class RestorePolicy(BaseModel, frozen=True, extra="forbid"):
    """Where originals may be put back into an answer."""

    text: bool = True
    urls: bool = False  # an address leaves the device when it is opened
    images: bool = False  # so does one that a page loads by itself
    tools: tuple[str, ...] = ()  # tools whose arguments are restored; "*" stands for all

    def tool(self, name: str) -> bool:
        """Whether the arguments of tool ``name`` are restored."""
        return "*" in self.tools or name in self.tools


class ConversationPolicy(BaseModel, frozen=True, extra="forbid"):
    """How long a conversation's originals are kept after its last use."""

    expires_days: PositiveFloat = Field(default=30.0, allow_inf_nan=False)


class RedactionPolicy(BaseModel, frozen=True, extra="forbid"):
    """The whole policy; an empty file is the default one."""

    types: dict[TypeName, Action] = {}  # as written; the defaults beneath are in ``action``
    default: Action = "mask"
    detection: DetectionPolicy = DetectionPolicy()
    restore: RestorePolicy = RestorePolicy()
    conversation: ConversationPolicy = ConversationPolicy()
    placeholder_hint: bool = False  # a system message that asks the large model to keep placeholders as they are
    on_error: Literal["local_only", "refuse"] = "local_only"

    def action(self, type: str) -> Action:
        """What is done with an entity of ``type``."""
        return self.types.get(type) or DEFAULT_ACTIONS.get(type) or self.default

    @classmethod
    def load(cls, path: Path | None) -> Self:
        """The policy of a TOML file; None gives the default. Raises BadInput."""
        if path is None:
            return cls()
        table = read_toml(path, "the policy")
        try:
            policy = cls.model_validate(table)
        except ValidationError as error:  # the value stays out: allow and deny lists may name people
            raise BadInput(f"the policy {path} is refused: {sentence(error, cls, quoting=False)}") from None
        unknown = policy.unknown_type()
        if unknown is not None:
            raise BadInput(f"the policy {path} is refused: {unknown}")
        return policy

    def unknown_type(self) -> str | None:
        """What is wrong with the first type that is named and never found; None where all may be found.

        Nobody can say what a plug-in without ``labels`` finds: beside one, every type may be.
        """
        plugins = self.detection.plugins
        if any(not plugin.labels for plugin in plugins):
            return None
        found = FOUND_TYPES.union(*(plugin.labels.values() for plugin in plugins))
        for table, named in (("types", self.types), ("detection.thresholds", self.detection.thresholds)):
            for type in named:
                if type not in found:
                    return f"{table}: no recogniser finds {type}; {_meant(type, found)}"
        return None


def _meant(type: str, found: frozenset[str]) -> str:
    """The types of which ``type`` is a part, or else the one that it is most like."""
    parts = sorted(one for one in found if f"_{type}_" in f"_{one}_" or (len(type) > 2 and one.startswith(type)))
    near = parts or get_close_matches(type, sorted(found), n=1)
    return f"did you mean {' or '.join(near)}?" if 0 < len(near) < 4 else "docs/detection.md lists what is found"
