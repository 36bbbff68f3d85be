"""What stands for a value outside the device: placeholders, people's names linked, surrogates, other digits."""

from tacit_privacy.pii.pseudonyms.conversation import Conversation

__all__ = ["Conversation"]
