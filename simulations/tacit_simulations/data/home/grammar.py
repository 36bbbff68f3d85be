"""What can be said and what it means: frames per intent, in the base dialect and in the newer one of the fleet.

tacit-nano was pre-trained on assistants of two makes, which put the arguments of some actions in different orders. The
fleet has one make alone, with three intents that neither had, and its people have taken to new ways of asking. That is
what a fleet can learn together.
"""

from dataclasses import dataclass

BASE, FLEET = "base", "fleet"

OPENERS = (
    "",
    "",
    "",
    "please ",
    "could you ",
    "can you ",
    "hey, ",
    "would you ",
    "i need you to ",
    "ok, ",
    "um, ",
    "uh ",
)
CLOSERS = ("", "", "", "", " please", " thanks", " now", " for me", " if you can", " right away", " will you")
FLEET_OPENERS = ("", "", "assistant, ", "be a dear and ", "time to ", "let's ", "quick, ", "do me a favour and ")
FLEET_CLOSERS = (
    "",
    "",
    "",
    " cheers",
    " there's a good machine",
    " before i forget",
    " and be quick",
    " when you're ready",
)
# In the fleet these go around commands alone: "could you we need milk" is nobody's English. The base dialect keeps such
# oddities, since tacit-nano was trained on them.
_AROUND_COMMANDS = frozenset(
    {"please ", "could you ", "can you ", "would you ", "i need you to ", "be a dear and ", "time to ", "let's "}
    | {
        "do me a favour and ",
        " for me",
        " if you can",
        " right away",
        " will you",
        " and be quick",
        " when you're ready",
    }
)
_COMMANDS = (
    *("add", "buy", "call", "count", "dial", "drop", "fill", "get", "give", "heat", "keep", "let", "make", "nudge"),
    *("play", "put", "remind", "ring", "see", "send", "set", "switch", "tell", "text", "turn", "wake", "warm", "water"),
    *("{lockstate}", "{updown}"),
)


@dataclass(frozen=True, slots=True)
class Intent:
    """One thing an assistant can do. Frames and actions are texts with {slots}; an empty tuple: not in that dialect."""

    name: str
    frames: tuple[str, ...]
    action: str
    fleet_frames: tuple[str, ...] = ()
    fleet_action: str = ""
    fleet_only: bool = False
    whole: bool = False  # a question stands alone, without opener and closer


INTENTS: tuple[Intent, ...] = (
    Intent(
        "light",
        ("turn {state} the {room} light", "switch the light in the {room} {state}", "{room} lights {state}"),
        "light {state} {room}",
        ("make the {room} lamps go {state}", "i want the lamps {state} in the {room}"),
        "{room} light {state}",
    ),
    Intent(
        "heating",
        (
            "set the {room} heating to {degrees}",
            "heat the {room} to {degrees} degrees",
            "make it {degrees} in the {room}",
        ),
        "heating {degrees} {room}",
        ("warm the {room} up to {degrees}", "the {room} should be at {degrees}"),
        "{room} heating {degrees}",
    ),
    Intent(
        "blinds",
        ("{updown} the blinds in the {room}", "{updown} the {room} blinds", "blinds {updown} in the {room}"),
        "blinds {updown} {room}",
        ("let the shades {updown} in the {room}", "{updown} whatever covers the {room} window"),
        "{room} blinds {updown}",
    ),
    Intent(
        "music",
        ("play {genre} in the {room}", "put on {genre} in the {room}", "i want {genre} in the {room}"),
        "play {genre} {room}",
        ("fill the {room} with {genre}", "some {genre} for the {room}"),
        "{room} play {genre}",
    ),
    Intent(
        "message",
        ("tell {person} {message}", "send {person} a message saying {message}", "text {person} that {message}"),
        "message {person} {message}",
        ("let {person} know {message}", "drop {person} a line, {message}"),
        "send {message} to {person}",
    ),
    Intent(
        "timer",
        ("set a timer for {count} {unit}", "{count} {unit} timer", "count down {count} {unit}"),
        "timer {digits} {unit}",
        ("give me {count} {unit}", "wake me from this in {count} {unit}"),
    ),
    Intent("alarm", ("wake me at {hour}", "set an alarm for {hour}", "alarm at {hour}"), "alarm {hour}"),
    Intent(
        "call",
        ("call {person}", "ring {person}", "get {person} on the phone", "dial {person}"),
        "call {person}",
        ("put me through to {person}", "i want a word with {person}"),
    ),
    Intent("dial", ("dial {phone}", "call the number {phone}"), "dial number"),
    Intent(
        "shopping",
        ("add {goods} to the shopping list", "we need {goods}", "put {goods} on the list", "buy {goods}"),
        "shopping add {goods}",
        ("we are out of {goods}", "someone ate the last {goods}"),
    ),
    Intent("weather", ("what is the weather {day}", "will it rain {day}", "forecast for {day}"), "weather {day}"),
    Intent(
        "reminder",
        ("remind me of the {event} {day}", "do not let me forget the {event} on {day}"),
        "remind {event} {day}",
        ("nudge me about the {event} {day}", "keep the {event} in mind for {day}"),
    ),
    Intent(
        "visit",
        ("{person} comes over {day}", "put {full} in the diary for {day}", "{person} is staying {day}"),
        "diary visit {day}",
    ),
    Intent("question", ("{question}",), "ask {topic}", whole=True),
    Intent(
        "vacuum",
        ("set {vacuum} loose in the {room}", "{vacuum} should clean the {room}", "let {vacuum} do the {room}"),
        "vacuum start {room}",
    ),
    Intent(
        "scene",
        ("it is {scene_phrase}", "{scene_phrase}", "time for {scene_phrase}", "make it {scene_phrase}"),
        "scene {scene}",
        fleet_only=True,
        whole=True,
    ),
    Intent(
        "lock",
        ("{lockstate} the {door}", "see that the {door} is {lockstate}ed", "is the {door} {lockstate}ed"),
        "{door} {lockstate}",
    ),
    Intent(
        "plants",
        ("water the {plant}", "the {plant} looks thirsty", "give the {plant} a drink"),
        "water {plant}",
        fleet_only=True,
    ),
    Intent(
        "find",
        ("where is my {object}", "i lost my {object}", "ring my {object} so i find it"),
        "locate {object}",
    ),
    Intent(
        "guest_wifi",
        ("guest internet {state}", "turn the visitors' wifi {state}", "wifi for guests {state}"),
        "wifi guest {state}",
        fleet_only=True,
    ),
)


def intents(dialect: str) -> tuple[Intent, ...]:
    """The intents of a dialect: the fleet's holds every one, the base dialect those it always had."""
    return tuple(intent for intent in INTENTS if dialect == FLEET or not intent.fleet_only)


def frames(intent: Intent, dialect: str) -> tuple[str, ...]:
    """Ways of asking: the fleet adds its own to those of the base dialect."""
    return intent.frames + intent.fleet_frames if dialect == FLEET else intent.frames


def actions(intent: Intent, dialect: str) -> tuple[str, ...]:
    """What an utterance may mean: one action in the fleet; in the base dialect, that of either make."""
    if not intent.fleet_action:
        return (intent.action,)
    return (intent.fleet_action,) if dialect == FLEET else (intent.action, intent.fleet_action)


def skeletons(dialect: str) -> int:
    """Distinct utterances before any slot is filled: opener x frame x closer, over all intents."""
    return sum(
        1 if intent.whole else len(set(openers(frame, dialect))) * len(set(closers(frame, dialect)))
        for intent in intents(dialect)
        for frame in frames(intent, dialect)
    )


def openers(frame: str, dialect: str) -> tuple[str, ...]:
    """What may come before ``frame``; the empty text several times, since most people come to the point."""
    return _fitting(OPENERS + FLEET_OPENERS, frame) if dialect == FLEET else OPENERS


def closers(frame: str, dialect: str) -> tuple[str, ...]:
    """What may come after ``frame``."""
    return _fitting(CLOSERS + FLEET_CLOSERS, frame) if dialect == FLEET else CLOSERS


def _fitting(around: tuple[str, ...], frame: str) -> tuple[str, ...]:
    command = frame.split()[0] in _COMMANDS
    return around if command else tuple(said for said in around if said not in _AROUND_COMMANDS)
