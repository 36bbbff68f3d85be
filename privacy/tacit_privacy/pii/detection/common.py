"""English words that are names too, or parts of names: in lower case they are words."""

from typing import Final

_WORDS = """
abbot ace all amazon amber and angel apple apr april archer are art ash aug august autumn avenue baker bank banks
barber bass bay bell berry best big bill bird bishop black blue bob bond book booker boy bridge bright brook brooks
brown buck bull burns bush but butcher butler can carpenter carter case chance chase chip christian church city clay
clerk cliff close coach college company cook cooper corp county court cox crisp cross crystal curry daisy dale dawn
day dean dec december dick dollar drake drew earl early east elder english ever faith farmer feb february fern field
fields finch first fish fisher flint flora flower for ford forest fox frank free french friday from frost gale gap
gardener gay gene gift ginger glass glen gmbh gold good grace grant gray great green grey griffin gross group guy
had hall hand harmony hart has have hawk hazel head heath heather heaven her hill hills him his holly holy home
honey hood hope hospital house how hunter inc international iris its ivy jack jade jan january jasmine jay jean
jewel joy judge jul july jun june just justice kay keen key king knight lake lamb land lane large last laurel law
leaf lee lily limited lion little llc long lord love ltd luck lucky lynch major mar marble march mark marks marsh
marshal mason max may melody mercy meta mike miles mill miller mills minor mint misty monday moody moon moore moss
mount myrtle new nick noble north not nov novel november oak oct october old olive one oracle orange our page paige
parish park parker parks pat patience patty peace pearl penny pepper perch pierce pike piper pitt plant pleasant
pole pool poor pope porter post potter power powers pratt precious price pride prince pure queen rain ramp randy
rank ray read reading reed reef rice rich ring rivers road rob robin rock rocky rod roman rose royal ruby rush rusty
sage sailor saint salt sands sandy saturday savage scarlet school scout sea self sep september serene sergeant
services sharp she shell shepherd shore short sierra silver singer skip sky small smart smith snow solutions sonny
south sparks spears spring star stark state steel sterling stern stone storm story street strong sue summer summers
sun sunday sunny swan sweet swift sylvan systems tailor tanner target taylor teal terry that the their they this
thomas thorn thursday tiger tim town tracy trinity trip troy tucker tuesday turner two university usher vale
valentine van velvet victor victoria victory viola violet visa wade wagner walker wall ward warden was waters weaver
webb wednesday wells west what wheeler when where white who why wild will win winter wise with wolf wood woods worth
wren wright yard you young your
"""
COMMON: Final = frozenset(_WORDS.split())
"""Detection, redaction and the last look share it: what one of them lets pass as a word, no other takes for a name."""
